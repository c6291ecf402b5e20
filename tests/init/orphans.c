/* Has as many orphans as asked for end at once, and tells the microseconds until each has been waited for. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const long PATIENCE_US = 60000000;

static long now_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000L + time.tv_nsec / 1000;
}

/* Each waits for the end of the gate; the numbers go to `told`. */
static int make(int count, int gate, int told) {
    for (int at = 0; at < count; at++) {
        pid_t pid = fork();
        if (pid == 0) {
            char byte;
            close(told);
            _exit(read(gate, &byte, 1) != 0);
        }
        if (pid < 0 || write(told, &pid, sizeof pid) != sizeof pid)
            return 3;
    }
    return 0;
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 0, gate[2], told[2], status;
    pid_t *pids = calloc(count, sizeof *pids);
    if (!pids || pipe(gate) || pipe(told))
        return 2;
    pid_t parent = fork();
    if (parent == 0) {
        close(gate[1]);
        close(told[0]);
        /* And leaves them to whoever takes orphans. */
        _exit(make(count, gate[0], told[1]));
    }
    close(gate[0]);
    close(told[1]);
    for (int at = 0; at < count; at++)
        if (read(told[0], &pids[at], sizeof *pids) != sizeof *pids)
            return 4;
    if (waitpid(parent, &status, 0) != parent || status != 0)
        return 5;
    long began = now_us();
    close(gate[1]);
    for (int at = 0; at < count; at++)
        while (kill(pids[at], 0) == 0) {
            struct timespec pause = {0, 200000};
            nanosleep(&pause, NULL);
            if (now_us() - began > PATIENCE_US)
                return 6;
        }
    printf("%ld\n", now_us() - began);
    return 0;
}
