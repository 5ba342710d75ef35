/* The least a server can do: one frame built, one send() per client, one thread, epoll.
 *
 * Speaks the JSON lines of praxis_fast.benchmarks.process and the handshake of
 * praxis_fast.benchmarks.socket_clients, and nothing else. Linux only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 100000, MAX_PER_TURN = 64, FRAME = 512, LINE = 4096 };

static const char TEXT[] =
    "Forecast ready for the region around the harbour and north. "
    "Forecast ready for the region around the harbour and north. ";
static const char SWITCHING[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\n\r\n";

static int clients[MAX_CLIENTS], count, poller, listener;
static long number = 1000000;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* An event as large as the gateway's, in one WebSocket frame. */
static size_t make_frame(unsigned char *out) {
    int size = snprintf(
        (char *)out + 4, FRAME - 4,
        "{\"type\":\"task.progress\",\"payload\":{\"sent\":%lld,\"step\":%ld,"
        "\"message\":\"%s\"},\"id\":\"0b8f8f0e-0b3c-4c3e-9c4e-2f5f6f7a8b9c\","
        "\"epoch\":\"5f3a9c2d1e0f4b6a\",\"seq\":%ld,"
        "\"timestamp\":\"2026-11-21T12:00:00.000Z\",\"correlation_id\":null}",
        (long long)nanoseconds(CLOCK_MONOTONIC), number, TEXT, number);
    number++;
    out[0] = 0x81;
    out[1] = 126;
    out[2] = (unsigned char)(size >> 8);
    out[3] = (unsigned char)size;
    return (size_t)size + 4;
}

static void send_turn(int events) {
    static unsigned char turn[MAX_PER_TURN * FRAME];
    size_t size = 0;
    for (int i = 0; i < events && i < MAX_PER_TURN; i++)
        size += make_frame(turn + size);
    for (int i = 0; i < count; i++)
        if (send(clients[i], turn, size, MSG_NOSIGNAL) != (ssize_t)size)
            die("send");
}

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static void accept_all(void) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(fd);
    }
}

static void on_client(int fd) {
    char data[LINE];
    ssize_t size = recv(fd, data, sizeof data, 0);
    if (size <= 0) {
        close(fd);
    } else if (memmem(data, (size_t)size, "\r\n\r\n", 4)) {
        if (count == MAX_CLIENTS)
            die("clients");
        if (send(fd, SWITCHING, sizeof SWITCHING - 1, MSG_NOSIGNAL) < 0)
            die("send");
        clients[count++] = fd;
    }
}

static double argument(const char *line, const char *name) {
    const char *found = strstr(line, name);
    return found ? atof(strchr(found, ':') + 1) : 0;
}

static void pace(int events, double interval) {
    int64_t due = nanoseconds(CLOCK_MONOTONIC);
    for (int i = 0; i < events; i++) {
        send_turn(1);
        due += (int64_t)(interval * 1e9);
        struct timespec at = {due / 1000000000, due % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    }
}

static long resident(void) {
    long all, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &all, &pages) != 2)
        die("statm");
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static void on_line(const char *line) {
    char answer[64] = "";
    if (strstr(line, "\"cpu\"")) {
        double seconds = (double)nanoseconds(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
        snprintf(answer, sizeof answer, ",\"seconds\":%.9f", seconds);
    } else if (strstr(line, "\"memory\"")) {
        snprintf(answer, sizeof answer, ",\"bytes\":%ld", resident());
    } else if (strstr(line, "\"burst\"")) {
        int turns = (int)argument(line, "\"turns\"");
        for (int i = 0; i < turns; i++)
            send_turn((int)argument(line, "\"per_turn\""));
    } else if (strstr(line, "\"pace\"")) {
        pace((int)argument(line, "\"events\""), argument(line, "\"interval\""));
    }
    printf("{\"id\":%d%s}\n", (int)argument(line, "\"id\""), answer);
    fflush(stdout);
}

/* False at the end of input. */
static int on_input(void) {
    static char line[LINE];
    static size_t held;
    ssize_t size = read(0, line + held, sizeof line - 1 - held);
    if (size <= 0)
        return 0;
    held += (size_t)size;
    line[held] = 0;
    char *end;
    while ((end = memchr(line, '\n', held))) {
        *end = 0;
        on_line(line);
        held -= (size_t)(end + 1 - line);
        memmove(line, end + 1, held + 1);
    }
    return 1;
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0)
        die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    poller = epoll_create1(0);
    watch(listener);
    watch(0);
    printf("{\"port\":%d,\"path\":\"/\",\"first\":\"\",\"greetings\":0}\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event ready[256];
        int found = epoll_wait(poller, ready, 256, -1);
        for (int i = 0; i < found; i++) {
            if (ready[i].data.fd == listener)
                accept_all();
            else if (ready[i].data.fd != 0)
                on_client(ready[i].data.fd);
            else if (!on_input())
                return 0;
        }
    }
}
