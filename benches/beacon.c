// beacon ID SOCKET: the workload of the figures. Its first act is to read CLOCK_MONOTONIC; it sends
// {id, pid, nanoseconds} to a unix datagram socket and pauses. So the time of a start is taken inside
// the started program, and the measuring program's own delay is no part of any figure.
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (argc < 3)
		return 2;
	struct {
		uint32_t id, pid;
		uint64_t ns;
	} message = { (uint32_t)atoi(argv[1]), (uint32_t)getpid(),
		      (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec };
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	strncpy(to.sun_path, argv[2], sizeof to.sun_path - 1);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sendto(fd, &message, sizeof message, 0, (struct sockaddr *)&to, sizeof to) < 0)
		return 1;
	close(fd);
	for (;;)
		pause();
}
