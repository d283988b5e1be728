/* Counts, slowly: each line that a program prints is one WebSocket message.
 *
 *   cc -o build/count examples/count/count.c && wspawn build/count
 *
 * Arguments: how far (10), and the pause after each number in seconds (1).
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
    int last = argc > 1 ? atoi(argv[1]) : 10;
    double pause = argc > 2 ? atof(argv[2]) : 1;
    struct timespec nap = { .tv_sec = (time_t)pause };

    nap.tv_nsec = (long)((pause - (double)nap.tv_sec) * 1e9);
    setvbuf(stdout, NULL, _IOLBF, 0); /* a pipe would get blocks, not lines */

    for (int n = 1; n <= last; n++) {
        printf("%d\n", n);
        nanosleep(&nap, NULL);
    }
    return 0;
}
