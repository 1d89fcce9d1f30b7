/* A wall clock that is wrong by as many milliseconds as the file named by
   REDISTEST_SKEW says (a 64-bit integer of this machine's byte order), for one process
   that loads this before libc. Time comes from system calls rather than from the
   functions that are replaced: looking those up would allocate, and the allocator
   reads the time. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *skew;

__attribute__((constructor)) static void open_skew(void) {
	const char *path = getenv("REDISTEST_SKEW");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0) return;
	void *page = mmap(NULL, sizeof *skew, PROT_READ, MAP_SHARED, fd, 0);
	if (page != MAP_FAILED) skew = page;
	close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *ts) {
	if (syscall(SYS_clock_gettime, clock, ts) != 0) return -1;
	if (skew && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
		int64_t ms = *skew, ns = ts->tv_nsec + ms % 1000 * 1000000;
		ts->tv_sec += ms / 1000;
		if (ns < 0) { ns += 1000000000; ts->tv_sec--; }
		if (ns >= 1000000000) { ns -= 1000000000; ts->tv_sec++; }
		ts->tv_nsec = ns;
	}
	return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
	(void)zone;
	struct timespec ts;
	if (clock_gettime(CLOCK_REALTIME, &ts) != 0) return -1;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *at) {
	struct timespec ts;
	if (clock_gettime(CLOCK_REALTIME, &ts) != 0) return -1;
	if (at) *at = ts.tv_sec;
	return ts.tv_sec;
}
