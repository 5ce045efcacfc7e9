/*
 * The peer in C: a minimal prefork daytime server, which shows the cost of the machine and its kernel.
 *
 *   prefork [-1 | -2] WORKERS PORT...
 *
 * Each port has WORKERS workers. Without an option they do what the inetds do: write(2), close(2). With -1, the reply
 * and the end of the stream leave in one segment, as in daytimed. With -2, the workers also throw away what the client
 * has written, as RFC 867 requires. Both options use plain congestion control, as daytimed does. The workers neither
 * count nor check: this is the floor, not a server to use.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The sentence of daytimed, except that the fraction keeps its trailing zeros. */
static size_t sentence(char *line, size_t room)
{
    struct timespec now;
    struct tm civil;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &civil);
    long minutes = labs(civil.tm_gmtoff) / 60;
    int size = snprintf(line, room, "The Date Time is: %04d-%02d-%02d %02d:%02d:%02d.%09ld %c%02ld%02ld %s\r\n",
                        civil.tm_year + 1900, civil.tm_mon + 1, civil.tm_mday, civil.tm_hour, civil.tm_min,
                        civil.tm_sec, now.tv_nsec, civil.tm_gmtoff < 0 ? '-' : '+', minutes / 60, minutes % 60,
                        civil.tm_zone);
    return size < 0 || (size_t)size >= room ? 0 : (size_t)size;
}

static void serve(int listener, char mode)
{
    static char unread[1 << 18];
    char line[128];
    for (;;) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof peer;
        int client = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC);
        if (client < 0)
            continue;
        size_t size = sentence(line, sizeof line);
        /* a client that left is not an error */
        if (mode) {
            if (send(client, line, size, MSG_MORE | MSG_NOSIGNAL) == (ssize_t)size)
                shutdown(client, SHUT_WR);
            if (mode == '2')
                recv(client, unread, sizeof unread, MSG_TRUNC | MSG_DONTWAIT);
        } else if (write(client, line, size) < 0 && errno != EPIPE && errno != ECONNRESET) {
            perror("write");
        }
        close(client);
    }
}

static int listen_on(const char *port, char mode)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (mode)
        setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 65535) < 0) {
        perror("prefork");
        exit(1);
    }
    return listener;
}

int main(int argc, char **argv)
{
    int option, wrong = 0;
    char mode = 0;
    while ((option = getopt(argc, argv, "12")) != -1) {
        wrong |= option == '?';
        mode = (char)option;
    }
    if (wrong || argc - optind < 2) {
        fprintf(stderr, "usage: prefork [-1 | -2] WORKERS PORT...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    tzset();
    pid_t parent = getpid();
    for (int port = optind + 1; port < argc; port++) {
        int listener = listen_on(argv[port], mode);
        for (int i = 0; i < atoi(argv[optind]); i++)
            if (fork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() == parent)
                    serve(listener, mode);
                _exit(1);
            }
        close(listener);
    }
    while (wait(NULL) > 0) {
    }
    return 1;
}
