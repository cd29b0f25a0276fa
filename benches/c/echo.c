/* The floor: an echo server that is nothing but epoll, recv and send.
 *
 * Listens on a free port of 127.0.0.1, or on the Unix socket that its argument names; prints
 * {"port": N} when it listens, and serves until it is killed. A message that the socket
 * doesn't take at once is waited for with poll: the load has one message a connection on its way,
 * so there is nobody else to serve on that socket meanwhile. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024, EVENTS = 1024, BUFFER = 256 * 1024 };

static char buffer[BUFFER];

static int checked(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static void watch(int poller, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    checked(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

/* Sends all of the buffer's first `size` bytes; 0 if the peer is gone. */
static int send_all(int fd, ssize_t size)
{
    for (ssize_t sent = 0; sent < size;) {
        ssize_t count = send(fd, buffer + sent, size - sent, MSG_NOSIGNAL);
        if (count >= 0) {
            sent += count;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            poll(&writable, 1, -1);
        } else if (errno != EINTR) {
            return 0;
        }
    }
    return 1;
}

/* Echoes what has come; closes the socket at its end. */
static void serve(int fd)
{
    ssize_t size = recv(fd, buffer, BUFFER, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0 || !send_all(fd, size))
        close(fd);
}

static int listen_on_port(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    checked(bind(listener, (struct sockaddr *)&address, length), "bind");
    checked(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
    *port = ntohs(address.sin_port);
    return listener;
}

static int listen_at_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int listener = checked(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    checked(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    return listener;
}

int main(int argc, char **argv)
{
    int yes = 1, port = 0;
    int listener = argc > 1 ? listen_at_path(argv[1]) : listen_on_port(&port);
    checked(listen(listener, BACKLOG), "listen");
    int poller = checked(epoll_create1(0), "epoll_create1");
    watch(poller, listener);
    printf("{\"port\": %d}\n", port);
    fflush(stdout);

    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != listener) {
                serve(events[i].data.fd);
                continue;
            }
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (fd >= 0) {
                if (port)
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                watch(poller, fd);
            }
        }
    }
}
