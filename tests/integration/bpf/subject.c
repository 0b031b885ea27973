/* Does what it reads from standard input, one number a line: works so often; then says so. */
#include <stdio.h>
#include <unistd.h>

#define PROBE(provider, name, argument)                                                          \
    __asm__ volatile("990: nop\n"                                                                \
                     ".pushsection .note.stapsdt,\"\",\"note\"\n"                                \
                     ".balign 4\n"                                                               \
                     ".4byte 992f-991f, 994f-993f, 3\n"                                          \
                     "991: .asciz \"stapsdt\"\n"                                                 \
                     "992: .balign 4\n"                                                          \
                     "993: .8byte 990b, _.stapsdt.base, 0\n"                                     \
                     ".asciz \"" provider "\"\n"                                                 \
                     ".asciz \"" name "\"\n"                                                     \
                     ".asciz \"-4@%[arg]\"\n"                                                    \
                     "994: .balign 4\n"                                                          \
                     ".popsection\n"                                                             \
                     ".ifndef _.stapsdt.base\n"                                                  \
                     ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"     \
                     ".weak _.stapsdt.base\n"                                                    \
                     ".hidden _.stapsdt.base\n"                                                  \
                     "_.stapsdt.base: .space 1\n"                                                \
                     ".size _.stapsdt.base, 1\n"                                                 \
                     ".popsection\n"                                                             \
                     ".endif\n"                                                                  \
                     : : [arg] "r"(argument))

__attribute__((noinline)) int leaf(int amount)
{
    __asm__ volatile("" : "+r"(amount));
    return amount + 1;
}

__attribute__((noinline)) int work(int amount)
{
    PROBE("subject", "work", amount);
    int more = leaf(amount);
    __asm__ volatile("" : "+r"(more)); /* so that this is no tail call */
    return more;
}

int main(void)
{
    int times;
    while (scanf("%d", &times) == 1) {
        int sum = 0;
        for (int i = 0; i < times; i++)
            sum += work(i) + (getpgid(0) < 0);
        printf("%d\n", sum);
        fflush(stdout);
    }
    return 0;
}
