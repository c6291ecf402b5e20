// writer MEBIBYTES BLOCK: numbered lines of 100 bytes to stdout, BLOCK bytes a write (a multiple of 100, or 100).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	long lines = atol(argv[1]) * 1048576L / 100;
	long per_block = atol(argv[2]) / 100;
	char *block = malloc((size_t)per_block * 100);
	for (long line = 0; line < lines;) {
		long filled = 0;
		for (; filled < per_block && line < lines; filled++, line++) {
			char *at = block + filled * 100;
			memset(at, 'x', 99);
			at[snprintf(at, 100, "%012ld ", line)] = ' ';
			at[99] = '\n';
		}
		for (char *from = block, *end = block + filled * 100; from < end;) {
			ssize_t written = write(1, from, (size_t)(end - from));
			if (written <= 0)
				return 1;
			from += written;
		}
	}
	return 0;
}
