# fish completion of daytimed, made by packaging/completions/generate.py

complete -c daytimed -f
complete -c daytimed -s h -l help -n 'not __fish_contains_opt -s h help' -d 'print a summary of the options and exit'
complete -c daytimed -s c -l config -r -F -d 'read the configuration from file'
complete -c daytimed -s l -l listen -x -a 'tcp:// tcp4:// tcp6:// udp:// udp4:// udp6:// unix:// localhost (__fish_print_hostnames) (string match -r \'[a-z]+[46]?://\' -- (commandline -ct))localhost (string match -r \'[a-z]+[46]?://\' -- (commandline -ct))(__fish_print_hostnames) (string match -r \'unix://\' -- (commandline -ct))(__fish_complete_path (string replace -r \'.*unix://\' \'\' -- (commandline -ct)))' -d 'listen at address and not where the file says'
complete -c daytimed -s w -l workers -x -d 'start n workers for each listener'
complete -c daytimed -s z -l timezone -x -a 'local UTC (awk \'/^[^#]/ { print $3 }\' /usr/share/zoneinfo/zone.tab 2>/dev/null)' -d 'tell the time of this zone'
complete -c daytimed -s f -l format -x -a 'sentence rfc867 smtp ctime xinetd iso8601 unix rfc868 nist strftime:' -d 'answer in this format, one of those in FORMATS'
complete -c daytimed -l log-level -x -a 'debug info warning error critical' -d 'log events of this level and above'
complete -c daytimed -l log-format -x -a 'auto console json journal' -d 'write the log in this form'
complete -c daytimed -l check -n 'not __fish_contains_opt check print-config inetd daemon' -d 'load the configuration, print ok or every fault that it has, and exit'
complete -c daytimed -l print-config -n 'not __fish_contains_opt check print-config inetd daemon' -d 'print the configuration that is in force, in the form of daytimed.toml(5), and exit'
complete -c daytimed -l inetd -n 'not __fish_contains_opt check print-config inetd daemon' -d 'answer the one client on standard input and exit'
complete -c daytimed -l daemon -n 'not __fish_contains_opt check print-config inetd daemon' -d 'detach from the terminal, for hosts without systemd(1)'
complete -c daytimed -l pidfile -r -F -d 'write the process ID to file and keep that locked'
complete -c daytimed -l user -x -a '(__fish_complete_users)' -d 'serve as user'
complete -c daytimed -l group -x -a '(__fish_complete_groups)' -d 'serve as group'
complete -c daytimed -l version -n 'not __fish_contains_opt version' -d 'print the version and exit'
