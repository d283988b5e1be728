/* Greets whoever says a name: each message is a line on stdin, each line on
 * stdout is the answer.
 *
 *   cc -o build/greeter examples/greeter/greeter.c && wspawn build/greeter
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *name = NULL;
    size_t room = 0;

    setvbuf(stdout, NULL, _IOLBF, 0); /* a pipe would get blocks, not lines */

    while (getline(&name, &room, stdin) > 0) {
        name[strcspn(name, "\n")] = '\0';
        printf("Hello, %s!\n", name);
    }
    free(name);
    return 0;
}
