// The server of the Go tutorial, whose sentence daytimed sends: it serves one client after another and ignores every
// error of a client.
//
//	daytime ADDRESS:PORT
package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "daytime:", err)
		os.Exit(1)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			continue
		}
		daytime := time.Now().String()
		conn.Write([]byte("The Date Time is: " + daytime))
		conn.Close()
	}
}
