/*
 * A closed-loop load generator for servers on this host: each thread connects, reads to the end of file, and repeats.
 *
 *   load [-c CLIENTS] [-n REPLIES] [-s SOURCES] [-w BYTES | -r REQUEST] [-k] TEMPLATE PORT...
 *
 * CLIENTS threads take the PORTs in turn. A client first writes BYTES zero bytes, or the REQUEST. A reply counts if all
 * of it matches TEMPLATE, its time of day (in the local zone) is at most a second old, and the end of file is clean.
 * In the template, # matches digits, @ a word of letters, digits and signs, a blank one or more blanks, a full stop a
 * fraction or nothing, * anything; other characters match themselves.
 * The time of a reply is from connect(2) to the end of file. Clients take SOURCES addresses (64) of 127/8 in turn, so
 * that ephemeral ports last.
 * With -k, clients stay open until the end of standard input.
 * Prints one line of JSON. Exits with 0 whatever the server does, 2 for wrong usage, 1 if it cannot run.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CLIENTS = 1024, MOST_SOURCES = 1 << 16, TIMEOUT_S = 5, MOST_ERRNO = 256, MOST_WRITE = 1 << 20 };
/* Buckets are 1 us wide below 2 * STEPS; above, each power of two has STEPS: errors below 1.6 %, up to 2^32 us. */
enum { STEPS = 64, BUCKETS = STEPS * 28 };
enum phase { SOCKET, CONNECT, WRITE, READ, REPLY, PHASES };

static const char *const phase_names[PHASES] = {"socket", "connect", "write", "read", "wrong reply"};

struct client {
    pthread_t thread;
    uint64_t replies;
    uint32_t errors[PHASES][MOST_ERRNO];
    uint32_t histogram[BUCKETS];
};

static char **ports;
static unsigned port_count, sources = 64;
static const char *template, *request;
static size_t request_size;
static int keep;
static char nothing[MOST_WRITE];
static atomic_long left;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The current second. time(2) may lag by some milliseconds and make a correct reply look early. */
static time_t second(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

static unsigned bucket_of(uint64_t us)
{
    unsigned shift = 0;
    while (us >> shift >= 2 * STEPS)
        shift++;
    unsigned bucket = shift * STEPS + (unsigned)(us >> shift);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The middle of a bucket, in microseconds. */
static double value_of(unsigned bucket)
{
    unsigned shift = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;
    return ((double)(bucket - shift * STEPS) + 0.5) * (double)((uint64_t)1 << shift);
}

static const char *name_of(int number)
{
    switch (number) {
    case ECONNREFUSED: return "ECONNREFUSED";
    case ECONNRESET: return "ECONNRESET";
    case EPIPE: return "EPIPE";
    case ETIMEDOUT: return "ETIMEDOUT";
    case EINPROGRESS: /* connect(2) within SO_SNDTIMEO */
    case EAGAIN: return "EAGAIN";
    default: return strerror(number);
    }
}

/* Return whether all of a reply matches a template. */
static int matches(const char *wanted, const char *reply, const char *end)
{
    for (; *wanted; wanted++) {
        size_t run = 0, room = (size_t)(end - reply);
        switch (*wanted) {
        case '*':
            for (; reply <= end; reply++)
                if (matches(wanted + 1, reply, end))
                    return 1;
            return 0;
        case '#':
            while (run < room && isdigit((unsigned char)reply[run]))
                run++;
            break;
        case '@':
            while (run < room && (isalnum((unsigned char)reply[run]) || reply[run] == '+' || reply[run] == '-'))
                run++;
            break;
        case ' ':
            while (run < room && reply[run] == ' ')
                run++;
            break;
        case '.':
            if (room == 0 || *reply != '.')
                continue;
            for (run = 1; run < room && isdigit((unsigned char)reply[run]);)
                run++;
            run = run > 1 ? run : 0;
            break;
        default:
            run = room > 0 && *reply == *wanted;
        }
        if (run == 0)
            return 0;
        reply += run;
    }
    return reply == end;
}

/* Return whether a reply contains one of these seconds as a time of day. */
static int is_timely(const char *reply, time_t first, time_t last)
{
    for (; last >= first; last--) {
        struct tm civil;
        char text[sizeof "00:00:00"];
        if (localtime_r(&last, &civil) && strftime(text, sizeof text, "%H:%M:%S", &civil) && strstr(reply, text))
            return 1;
    }
    return 0;
}

/* Run one client. Return PHASES and set *us if it got its reply, otherwise the phase that failed, with errno set. */
static enum phase ask(int fd, unsigned turn, uint64_t *us)
{
    struct timeval patience = {.tv_sec = TIMEOUT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + turn % sources)};
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                 .sin_port = htons((uint16_t)atoi(ports[turn % port_count]))};
    int later = 1;
    /* let connect choose the port: it knows the whole four-tuple */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &later, sizeof later);
    if (bind(fd, (struct sockaddr *)&source, sizeof source) < 0)
        return SOCKET;
    /* a server may use time(2), or the time at the start of an iteration of its event loop */
    time_t oldest = second() - 1;
    uint64_t start = now_ns();
    if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0)
        return CONNECT;
    for (size_t done = 0; done < request_size;) {
        ssize_t sent = send(fd, request + done, request_size - done, MSG_NOSIGNAL);
        if (sent < 0)
            return WRITE;
        done += (size_t)sent;
    }
    char reply[1024];
    size_t size = 0;
    for (;;) {
        ssize_t got = recv(fd, reply + size, sizeof reply - size, 0);
        if (got < 0)
            return READ;
        size += (size_t)got;
        if (got == 0 || size == sizeof reply)
            break;
    }
    *us = (now_ns() - start) / 1000;
    errno = 0;
    if (size == sizeof reply || !matches(template, reply, reply + size))
        return REPLY;
    reply[size] = '\0';
    return is_timely(reply, oldest, second()) ? PHASES : REPLY;
}

static void *run(void *argument)
{
    struct client *self = argument;
    long turn;
    while ((turn = atomic_fetch_sub(&left, 1)) > 0) {
        uint64_t us = 0;
        enum phase failed = SOCKET;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0)
            failed = ask(fd, (unsigned)turn, &us);
        if (failed != PHASES) {
            self->errors[failed][errno < MOST_ERRNO ? errno : 0]++;
        } else {
            self->replies++;
            self->histogram[bucket_of(us)]++;
        }
        if (fd >= 0 && !keep)
            close(fd);
    }
    return NULL;
}

static double quantile(const struct client *sum, double share)
{
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        if ((seen += sum->histogram[bucket]) > 0 && (double)seen >= share * (double)sum->replies)
            return value_of(bucket);
    }
    return 0;
}

static void print(const struct client *sum, double seconds)
{
    const char *separator = "";
    printf("{\"replies\": %llu, \"errors\": {", (unsigned long long)sum->replies);
    for (int phase = 0; phase < PHASES; phase++)
        for (int number = 0; number < MOST_ERRNO; number++)
            if (sum->errors[phase][number]) {
                printf("%s\"%s%s%s\": %u", separator, phase_names[phase], number ? " " : "",
                       number ? name_of(number) : "", sum->errors[phase][number]);
                separator = ", ";
            }
    printf("}, \"replies_per_s\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f}\n",
           (double)sum->replies / seconds, quantile(sum, 0.5), quantile(sum, 0.99), quantile(sum, 0.999));
}

int main(int argc, char **argv)
{
    long count = 1, total = 1, from = sources, bytes = 0;
    int option, wrong = 0;
    while ((option = getopt(argc, argv, "c:n:s:w:r:k")) != -1) {
        switch (option) {
        case 'c': count = atol(optarg); break;
        case 'n': total = atol(optarg); break;
        case 's': from = atol(optarg); break;
        case 'w': bytes = atol(optarg); break;
        case 'r': request = optarg; break;
        case 'k': keep = 1; break;
        default: wrong = 1;
        }
    }
    if (wrong || argc - optind < 2 || count < 1 || count > MOST_CLIENTS || total < 1 || from < 1 ||
        from > MOST_SOURCES || bytes < 0 || bytes > MOST_WRITE) {
        fprintf(stderr,
                "usage: load [-c CLIENTS] [-n REPLIES] [-s SOURCES] [-w BYTES | -r REQUEST] [-k] TEMPLATE PORT...\n");
        return 2;
    }
    sources = (unsigned)from;
    template = argv[optind];
    ports = argv + optind + 1;
    port_count = (unsigned)(argc - optind - 1);
    request_size = request ? strlen(request) : (size_t)bytes;
    request = request ? request : nothing;
    tzset();
    struct rlimit descriptors;
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
    atomic_store(&left, total);
    struct client *clients = calloc((size_t)count + 1, sizeof *clients), *sum = clients + count;
    uint64_t start = now_ns();
    for (long i = 0; i < count; i++)
        if (!clients || pthread_create(&clients[i].thread, NULL, run, &clients[i]) != 0) {
            fprintf(stderr, "load: cannot start %ld threads\n", count);
            return 1;
        }
    for (long i = 0; i < count; i++) {
        pthread_join(clients[i].thread, NULL);
        sum->replies += clients[i].replies;
        for (int bucket = 0; bucket < BUCKETS; bucket++)
            sum->histogram[bucket] += clients[i].histogram[bucket];
        for (int phase = 0; phase < PHASES; phase++)
            for (int number = 0; number < MOST_ERRNO; number++)
                sum->errors[phase][number] += clients[i].errors[phase][number];
    }
    print(sum, (double)(now_ns() - start) / 1e9);
    fflush(stdout);
    while (keep && getchar() != EOF) {
    }
    return 0;
}
