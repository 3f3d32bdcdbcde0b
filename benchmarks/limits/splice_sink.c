/* The limit of receiving: PORT DIRECTORY. Bodies go from the socket through a pipe into a file, inside the kernel.
 *
 * Speaks just enough HTTP for the load generator: POST is answered with 201 and a Location, everything else with 204;
 * connections are kept. A thread per connection. A body is a new file in DIRECTORY. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIPE = 1 << 20, HEAD = 1 << 16, LOW_WATER = 1 << 18 };

static const char *directory;
static atomic_long files;

static void say(int out, const char *text) {
    if (send(out, text, strlen(text), MSG_NOSIGNAL) < 0) perror("send");
}

/* Move what remains of a body; wait for a good piece at a time, as wake-ups cost. */
static int receive(int in, int file, const int *tube, long left) {
    while (left > 0) {
        int low = left < LOW_WATER ? (int)left : LOW_WATER;
        setsockopt(in, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low);
        struct pollfd ready = {.fd = in, .events = POLLIN};
        poll(&ready, 1, -1);
        ssize_t in_pipe = splice(in, NULL, tube[1], NULL, left < PIPE ? (size_t)left : PIPE, SPLICE_F_MOVE);
        if (in_pipe <= 0) return -1;
        left -= in_pipe;
        while (in_pipe > 0) {
            ssize_t moved = splice(tube[0], NULL, file, NULL, (size_t)in_pipe, SPLICE_F_MOVE);
            if (moved <= 0) return -1;
            in_pipe -= moved;
        }
    }
    int one = 1;
    setsockopt(in, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
    return 0;
}

/* Store one body: what came with the head first. */
static int store(int in, const int *tube, const char *first, long has, long length) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%ld", directory, atomic_fetch_add(&files, 1));
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) return -1;
    int bad = write(file, first, (size_t)has) != has || receive(in, file, tube, length - has);
    close(file);
    return bad ? -1 : 0;
}

/* Read one head; return how many bytes are in the buffer, 0 at the end. */
static long read_head(int in, char *head, char **end) {
    long has = 0;
    while (has < HEAD) {
        ssize_t more = recv(in, head + has, (size_t)(HEAD - has), 0);
        if (more <= 0) return 0;
        has += more;
        head[has] = 0;
        if ((*end = strstr(head, "\r\n\r\n"))) {
            *end += 4;
            return has;
        }
    }
    return 0;
}

static void *serve(void *argument) {
    int in = (int)(long)argument, tube[2], on = 1;
    char *head = malloc(HEAD + 1), *end;
    long has;
    if (!head || pipe(tube)) exit(1);
    fcntl(tube[1], F_SETPIPE_SZ, PIPE);
    setsockopt(in, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while ((has = read_head(in, head, &end))) {
        char *field = strcasestr(head, "\r\ncontent-length:");
        long length = field && field < end ? atol(field + 17) : 0;
        if (length && store(in, tube, end, has - (end - head), length)) break;
        say(in, strncmp(head, "POST", 4) ? "HTTP/1.1 204 No Content\r\n\r\n"
                                         : "HTTP/1.1 201 Created\r\nLocation: /files/0\r\nContent-Length: 0\r\n\r\n");
    }
    close(in), close(tube[0]), close(tube[1]), free(head);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    directory = arguments[2];
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 1024)) return 1;
    for (;;) {
        int one = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;
        if (one < 0 || pthread_create(&thread, NULL, serve, (void *)(long)one)) return 1;
        pthread_detach(thread);
    }
}
