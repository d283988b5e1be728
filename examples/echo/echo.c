/* Sends every message back. It passes bytes, so that it does the same for
 * lines and for `wspawn --binary`.
 *
 *   cc -o build/echo examples/echo/echo.c && wspawn build/echo
 */
#include <unistd.h>

int main(void)
{
    static char buf[65536];
    ssize_t n;

    while ((n = read(STDIN_FILENO, buf, sizeof buf)) > 0) {
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(STDOUT_FILENO, buf + done, (size_t)(n - done));
            if (w < 0)
                return 1;
            done += w;
        }
    }
    return n < 0;
}
