// floor SOCKET BEACON N: the least that any supervisor must do. vfork and exec N beacons one after the
// other, then wait: whatever ends is started again. SIGTERM: kill all, wait for all, end.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static volatile sig_atomic_t told_to_end;

static void on_term(int signal)
{
	(void)signal;
	told_to_end = 1;
}

static pid_t start(const char *beacon, int id, const char *socket)
{
	char number[16];
	snprintf(number, sizeof number, "%d", id);
	char *arguments[] = { (char *)beacon, number, (char *)socket, NULL };
	pid_t pid = vfork();
	if (pid == 0) {
		execve(beacon, arguments, environ);
		_exit(127);
	}
	return pid;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	struct sigaction action = { .sa_handler = on_term };
	sigaction(SIGTERM, &action, NULL);
	int count = atoi(argv[3]);
	pid_t *pids = calloc((size_t)count + 1, sizeof *pids);
	for (int id = 0; id < count; id++)
		pids[id] = start(argv[2], id, argv[1]);
	while (!told_to_end) {
		pid_t ended = waitpid(-1, NULL, 0);
		if (ended < 0 && errno != EINTR)
			break;
		for (int id = 0; ended > 0 && id < count; id++)
			if (pids[id] == ended)
				pids[id] = start(argv[2], id, argv[1]);
	}
	for (int id = 0; id < count; id++)
		kill(pids[id], SIGTERM);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	return 0;
}
