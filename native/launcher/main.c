/* `wbpf`: docs/run.md says what it does before it is Python. */
#include "launcher.h"
#include <string.h>

int main(int count, char **words)
{
    if (count > 2 && strcmp(words[1], "run") == 0) {
        int status = run(words + 2, count - 2);
        if (status >= 0)
            return status;
    }
    python_exec(words + 1);
    return 127;
}
