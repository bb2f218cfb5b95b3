/* Load generator: one thread, epoll, keep-alive connections, HTTP/1.1.
 *
 * It opens the connections (and creates the first uploads, with --create-first), prints "ready", waits for a line
 * on standard input, runs, and prints one JSON object. Only the part after "ready" is timed. loadgen.py describes
 * the options; pyload.py is the slower stand-in that understands the same ones.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 4096, IN_MAX = 65536, URL_MAX = 1024, SLOW_PIECE = 256, SLOW_TICKS = 10, TOO_MANY = 100 };
enum mode { TUS, PUT, GET, APPEND };
enum step { IDLE, CREATE, PATCH, HEAD, FETCH };

struct conn {
    int fd, slow, want_out, reading_body, close_after;
    enum step step;
    char out[HEAD_MAX], in[IN_MAX], url[URL_MAX];
    size_t out_len, out_sent, in_len;
    int64_t body_size, body_sent, offset, to_read, size;
    double started;
};

static struct {
    const char *host, *path, *header, *body;
    int port, connections, with_upload, head, create_first, slow;
    int64_t uploads, size, chunk, offset, range;
    double slow_interval, deadline;
    enum mode mode;
} opt = {.host = "127.0.0.1", .path = "/files/", .header = "", .connections = 1, .uploads = 1, .slow_interval = 1.0, .deadline = 300};

static char *pattern;
static size_t pattern_size;
static int epoll_fd, running, busy, slow_stalled;
static int64_t taken, finished, requests, bytes_moved, errors, reconnects, slow_bytes, put_serial;
static char first_error[256];
static double *latencies;
static size_t latency_count, latency_room;
static struct conn *conns;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void note_error(const char *what, int status) {
    if (!errors++) snprintf(first_error, sizeof first_error, "%s %d", what, status);
}

static void watch(struct conn *c, int out) {
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
    if (c->want_out == out) return;
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    c->want_out = out;
}

static void dial(struct conn *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;
    inet_pton(AF_INET, opt.host, &to.sin_addr);
    if ((c->fd = socket(AF_INET, SOCK_STREAM, 0)) < 0) die("socket");
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
    c->want_out = 0;
    c->in_len = 0;
}

static void hang_up(struct conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void flush_out(struct conn *c);

static void begin(struct conn *c, enum step step, const char *method, const char *url, const char *fields, int64_t body) {
    char length[64] = "";
    if (body > 0 || step == CREATE) snprintf(length, sizeof length, "Content-Length: %lld\r\n", (long long)body);
    c->step = step;
    c->out_len = snprintf(c->out, HEAD_MAX, "%s %s HTTP/1.1\r\nHost: %s:%d\r\nTus-Resumable: 1.0.0\r\n%s%s\r\n", method, url,
                          opt.host, opt.port, fields, length);
    if (c->out_len >= HEAD_MAX) { fprintf(stderr, "request head too long\n"); exit(1); }
    c->out_sent = c->body_sent = 0;
    c->body_size = body;
    c->reading_body = c->close_after = 0;
    c->to_read = 0;
    c->started = now();
    if (c->fd < 0) { reconnects++; dial(c); }
    flush_out(c);
}

static void create(struct conn *c) {
    char fields[1024];
    int64_t body = opt.with_upload && !c->slow ? c->size : 0;
    snprintf(fields, sizeof fields, "Upload-Length: %lld\r\nUpload-Metadata: filename YmVuY2gudHh0,filetype dGV4dC9wbGFpbg==\r\n%s%s", (long long)c->size,
             body ? "Content-Type: application/offset+octet-stream\r\n" : "", body ? opt.header : "");
    c->offset = 0;
    begin(c, CREATE, "POST", opt.path, fields, body);
}

static void patch(struct conn *c) {
    char fields[1024];
    int64_t left = opt.mode == APPEND ? opt.size - (c->offset - opt.offset) : c->size - c->offset;
    int64_t body = opt.chunk && opt.chunk < left && !c->slow ? opt.chunk : left;
    snprintf(fields, sizeof fields, "Upload-Offset: %lld\r\nContent-Type: application/offset+octet-stream\r\n%s",
             (long long)c->offset, c->slow ? "" : opt.header);
    begin(c, PATCH, "PATCH", c->url, fields, body);
}

static void put(struct conn *c) {
    snprintf(c->url, URL_MAX, "%sput-%lld", opt.path, (long long)put_serial++);
    begin(c, PATCH, "PUT", c->url, "", c->size);
}

static void fetch(struct conn *c) {
    char fields[256] = "";
    int64_t blocks = opt.range ? opt.size / opt.range : 0;
    int64_t start = opt.range ? (requests * 7919 % (blocks ? blocks : 1)) * opt.range : 0;
    if (opt.range)
        snprintf(fields, sizeof fields, "Range: bytes=%lld-%lld\r\n", (long long)start, (long long)(start + opt.range - 1));
    begin(c, FETCH, "GET", opt.path, fields, 0);
}

static void next_upload(struct conn *c) {
    if (taken >= opt.uploads) {
        c->step = IDLE;
        busy--;
        return;
    }
    taken++;
    c->size = opt.size;
    switch (opt.mode) {
    case TUS: create(c); break;
    case PUT: put(c); break;
    case GET: fetch(c); break;
    case APPEND:
        snprintf(c->url, URL_MAX, "%s", opt.path);
        c->offset = opt.offset;
        patch(c);
        break;
    }
}

static void upload_done(struct conn *c) {
    finished++;
    next_upload(c);
}

static void abandon(struct conn *c, const char *why, int status) {
    note_error(why, status);
    hang_up(c);
    if (c->slow) { c->step = IDLE; slow_stalled++; return; }
    next_upload(c);
}

static void record(struct conn *c) {
    requests++;
    if (!running || c->slow) return;
    if (latency_count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 4096;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
    }
    latencies[latency_count++] = now() - c->started;
}

static int field(const char *head, const char *name, char *value, size_t room) {
    const char *line = head;
    size_t n = strlen(name);
    while ((line = strstr(line, "\r\n")) && line[2] != '\r') {
        line += 2;
        if (strncasecmp(line, name, n) || line[n] != ':') continue;
        line += n + 1;
        while (*line == ' ') line++;
        n = strcspn(line, "\r");
        if (n >= room) n = room - 1;
        memcpy(value, line, n);
        value[n] = 0;
        return 1;
    }
    return 0;
}

static void answered(struct conn *c, int status, const char *offset) {
    record(c);
    if (c->close_after) hang_up(c);
    if (status < 200 || status > 299) { abandon(c, "status", status); return; }
    switch (c->step) {
    case CREATE:
        if (status != 201) { abandon(c, "create answered", status); return; }
        if (opt.with_upload && !c->slow) {
            if (offset[0] && atoll(offset) != c->size) { abandon(c, "short offset after create", status); return; }
            bytes_moved += c->size;
            c->offset = c->size;
            if (opt.head) begin(c, HEAD, "HEAD", c->url, "", 0);
            else upload_done(c);
            return;
        }
        if (!running) c->step = IDLE; /* --create-first: the body waits for the start */
        else patch(c);
        return;
    case PATCH:
        c->offset += c->body_size;
        bytes_moved += c->body_size;
        if (opt.mode != PUT && atoll(offset) != c->offset) { abandon(c, "wrong offset after patch", status); return; }
        if (opt.mode == APPEND ? c->offset - opt.offset < opt.size : c->offset < c->size) patch(c);
        else if (opt.head) begin(c, HEAD, "HEAD", c->url, "", 0);
        else upload_done(c);
        return;
    case HEAD:
        if (atoll(offset) != c->offset) { abandon(c, "wrong offset in head", status); return; }
        upload_done(c);
        return;
    default:
        upload_done(c);
    }
}

static int head_status;
static char head_offset[32];

static int parse_head(struct conn *c) {
    char value[URL_MAX], *end, *slash;
    size_t used;
    c->in[c->in_len] = 0;
    while ((end = strstr(c->in, "\r\n\r\n"))) {
        used = end + 4 - c->in;
        head_status = atoi(c->in + 9);
        if (head_status >= 200) break;
        memmove(c->in, c->in + used, c->in_len - used + 1);
        c->in_len -= used;
    }
    if (!end) return 0;
    end[2] = 0;
    end[3] = 0;
    head_offset[0] = 0;
    field(c->in, "Upload-Offset", head_offset, sizeof head_offset);
    c->close_after = field(c->in, "Connection", value, sizeof value) && !strcasecmp(value, "close");
    if (field(c->in, "Location", value, sizeof value) && c->step == CREATE) {
        slash = strstr(value, "://") ? strchr(strstr(value, "://") + 3, '/') : value;
        snprintf(c->url, URL_MAX, "%s", slash ? slash : "/");
    }
    c->to_read = 0;
    if (c->step != HEAD && head_status != 204 && field(c->in, "Content-Length", value, sizeof value)) c->to_read = atoll(value);
    else if (c->step != HEAD && field(c->in, "Transfer-Encoding", value, sizeof value)) c->to_read = -1;
    memmove(c->in, c->in + used, c->in_len - used + 1);
    c->in_len -= used;
    return 1;
}

/* Whether the answer's body is complete. A chunked one ends where the buffer ends with the last chunk. */
static int body_complete(struct conn *c, int status) {
    if (c->to_read < 0) {
        c->in[c->in_len] = 0;
        if (c->in_len >= 5 && !strcmp(c->in + c->in_len - 5, "0\r\n\r\n")) { c->in_len = 0; return 1; }
        if (c->in_len > IN_MAX / 2) { memmove(c->in, c->in + c->in_len - 8, 8); c->in_len = 8; }
        return 0;
    }
    if ((int64_t)c->in_len > c->to_read) { note_error("bytes after the answer", status); c->in_len = c->to_read; }
    if (c->step == FETCH) bytes_moved += c->in_len;
    c->to_read -= c->in_len;
    c->in_len = 0;
    return c->to_read == 0;
}

struct answer { int status; char offset[32]; };
static struct answer *answers; /* one per connection: kept while an answer's body is read */

static void readable(struct conn *c) {
    struct answer *a = &answers[c - conns];
    for (;;) {
        ssize_t n;
        if (c->reading_body && c->to_read > IN_MAX) {
            /* MSG_TRUNC: the kernel drops the bytes uncopied; the last one is read below, where the end is noticed. */
            n = recv(c->fd, NULL, c->to_read - 1, MSG_TRUNC);
            if (n > 0) { c->to_read -= n; if (c->step == FETCH) bytes_moved += n; continue; }
        } else {
            n = recv(c->fd, c->in + c->in_len, IN_MAX - 1 - c->in_len, 0);
        }
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            if (c->step == IDLE) hang_up(c);
            else abandon(c, "connection lost", n < 0 ? errno : 0);
            return;
        }
        c->in_len += n;
        if (!c->reading_body) {
            if (!parse_head(c)) continue;
            a->status = head_status;
            memcpy(a->offset, head_offset, sizeof head_offset);
            c->reading_body = 1;
        }
        if (!body_complete(c, a->status)) continue;
        if (c->step == PATCH && c->body_sent < c->body_size) { abandon(c, "answered before the body's end", a->status); return; }
        c->reading_body = 0;
        answered(c, a->status, a->offset);
        return;
    }
}

static void flush_out(struct conn *c) {
    for (;;) {
        struct iovec v[2];
        int n = 0;
        int64_t limit = c->slow && c->step == PATCH ? 0 : c->body_size - c->body_sent;
        size_t at = c->body_sent % pattern_size;
        if (c->out_sent < c->out_len) v[n++] = (struct iovec){c->out + c->out_sent, c->out_len - c->out_sent};
        if (limit > (int64_t)(pattern_size - at)) limit = pattern_size - at;
        if (limit > 0) v[n++] = (struct iovec){pattern + at, limit};
        if (!n) { watch(c, 0); return; }
        struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
        ssize_t sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) { watch(c, 1); return; }
        if (sent < 0) { watch(c, 0); return; } /* the answer, or the loss, is read by readable() */
        size_t head = c->out_len - c->out_sent;
        if (head > (size_t)sent) head = sent;
        c->out_sent += head;
        c->body_sent += sent - head;
    }
}

static void turn(int timeout_ms) {
    struct epoll_event events[256];
    int n = epoll_wait(epoll_fd, events, 256, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (c->fd >= 0 && events[i].events & EPOLLOUT) flush_out(c);
        if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
    }
}

/* Each slow client sends one small piece per interval; a tenth of them at each tick. */
static void dribble(struct conn *slow, int tick) {
    for (int i = tick % SLOW_TICKS; i < opt.slow; i += SLOW_TICKS) {
        struct conn *c = &slow[i];
        if (c->fd < 0 || c->step != PATCH) continue;
        ssize_t n = send(c->fd, pattern, SLOW_PIECE, MSG_NOSIGNAL);
        if (n > 0) { c->body_sent += n; slow_bytes += n; }
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) {
    if (!latency_count) return 0;
    size_t at = share * (latency_count - 1) + 0.5;
    return latencies[at];
}

static void read_options(int argc, char **argv) {
    static const struct option names[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"path", 1, 0, 'u'}, {"connections", 1, 0, 'c'}, {"uploads", 1, 0, 'n'},
        {"size", 1, 0, 's'}, {"chunk", 1, 0, 'k'}, {"offset", 1, 0, 'o'}, {"range", 1, 0, 'r'}, {"header", 1, 0, 'H'},
        {"body", 1, 0, 'b'}, {"mode", 1, 0, 'm'}, {"slow", 1, 0, 'S'}, {"slow-interval", 1, 0, 'I'}, {"deadline", 1, 0, 'd'},
        {"with-upload", 0, 0, 'w'}, {"head", 0, 0, 'e'}, {"create-first", 0, 0, 'f'}, {0, 0, 0, 0}};
    static char header[1024];
    int o;
    while ((o = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (o) {
        case 'h': opt.host = optarg; break;
        case 'p': opt.port = atoi(optarg); break;
        case 'u': opt.path = optarg; break;
        case 'c': opt.connections = atoi(optarg); break;
        case 'n': opt.uploads = atoll(optarg); break;
        case 's': opt.size = atoll(optarg); break;
        case 'k': opt.chunk = atoll(optarg); break;
        case 'o': opt.offset = atoll(optarg); break;
        case 'r': opt.range = atoll(optarg); break;
        case 'H': snprintf(header, sizeof header, "%s\r\n", optarg); opt.header = header; break;
        case 'b': opt.body = optarg; break;
        case 'm': opt.mode = !strcmp(optarg, "put") ? PUT : !strcmp(optarg, "get") ? GET : !strcmp(optarg, "append") ? APPEND : TUS; break;
        case 'S': opt.slow = atoi(optarg); break;
        case 'I': opt.slow_interval = atof(optarg); break;
        case 'd': opt.deadline = atof(optarg); break;
        case 'w': opt.with_upload = 1; break;
        case 'e': opt.head = 1; break;
        case 'f': opt.create_first = 1; break;
        default: exit(2);
        }
    }
}

static void load_pattern(void) {
    struct stat st;
    int fd = opt.body ? open(opt.body, O_RDONLY) : -1;
    if (fd < 0 || fstat(fd, &st)) die("--body");
    pattern_size = st.st_size;
    pattern = malloc(pattern_size);
    if (read(fd, pattern, pattern_size) != (ssize_t)pattern_size) die("--body");
    close(fd);
}

static int all_in(struct conn *from, int count, enum step step) {
    for (int i = 0; i < count; i++)
        if (from[i].step != step && from[i].fd >= 0) return 0;
    return 1;
}

/* Slow uploads are created in small groups, then all of them begin a PATCH that will not end. */
static void start_slow(struct conn *slow) {
    for (int i = 0; i < opt.slow; i++) {
        slow[i].slow = 1;
        slow[i].size = 64 << 20;
        dial(&slow[i]);
        create(&slow[i]);
        if (i % 16 == 15 || i == opt.slow - 1)
            while (!all_in(slow, i + 1, IDLE)) turn(100);
    }
    for (int i = 0; i < opt.slow; i++)
        if (slow[i].fd >= 0) patch(&slow[i]);
    for (int tick = 0; tick < SLOW_TICKS; tick++) {
        dribble(slow, tick);
        turn(20);
    }
}

int main(int argc, char **argv) {
    struct rlimit files;
    struct conn *slow;
    char line[16];
    read_options(argc, argv);
    load_pattern();
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(0);
    conns = calloc(opt.connections + opt.slow, sizeof *conns);
    answers = calloc(opt.connections + opt.slow, sizeof *answers);
    slow = conns + opt.connections;
    for (int i = 0; i < opt.connections; i++) {
        dial(&conns[i]);
        if (!opt.create_first) continue;
        taken++;
        conns[i].size = opt.size;
        create(&conns[i]);
        while (conns[i].step == CREATE) turn(100);
        if (errors) break;
    }
    start_slow(slow);
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 1;

    running = 1;
    requests = bytes_moved = slow_bytes = 0;
    double start = now(), next_tick = start;
    int tick = 0;
    busy = opt.connections;
    for (int i = 0; i < opt.connections && !errors; i++) {
        if (opt.create_first) patch(&conns[i]);
        else next_upload(&conns[i]);
    }
    if (errors) busy = 0; /* the first uploads could not be created */
    while (busy > 0 && errors < TOO_MANY && now() < start + opt.deadline) {
        turn(opt.slow ? 10 : 1000);
        if (opt.slow && now() >= next_tick) {
            dribble(slow, tick++);
            next_tick += opt.slow_interval / SLOW_TICKS;
        }
    }
    if (busy > 0 && !errors) note_error("deadline passed, connections still busy:", busy);
    double wall = now() - start, sum = 0;
    int64_t slow_alive = 0;
    for (int i = 0; i < opt.slow; i++) slow_alive += slow[i].fd >= 0 && slow[i].step == PATCH;
    qsort(latencies, latency_count, sizeof *latencies, compare);
    for (size_t i = 0; i < latency_count; i++) sum += latencies[i];
    printf("{\"wall\": %.6f, \"requests\": %zu, \"uploads\": %lld, \"bytes\": %lld, \"errors\": %lld, \"error\": \"%s\", "
           "\"reconnects\": %lld, \"mean\": %.6f, \"p50\": %.6f, \"p90\": %.6f, \"p99\": %.6f, \"max\": %.6f, "
           "\"slow_alive\": %lld, \"slow_bytes\": %lld}\n",
           wall, latency_count, (long long)finished, (long long)bytes_moved, (long long)errors, first_error,
           (long long)reconnects, latency_count ? sum / latency_count : 0, percentile(0.5), percentile(0.9), percentile(0.99),
           percentile(1.0), (long long)slow_alive, (long long)slow_bytes);
    return 0;
}
