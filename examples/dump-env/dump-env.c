/* Shows what a program gets to know about the request: its environment.
 *
 *   cc -o build/dump-env examples/dump-env/dump-env.c && wspawn build/dump-env
 */
#include <stdio.h>

extern char **environ;

int main(void)
{
    for (char **var = environ; *var; var++)
        puts(*var);
    return 0;
}
