/* Two versions of an application: in the second, the fields of its structure have moved. */
#include <stdio.h>
#include <unistd.h>

#if VERSION == 1
struct order {
    int number;
    long price_cents;
    struct customer {
        char name[16];
        int id;
    } customer;
};
#else
struct order {
    char comment[40];
    struct customer {
        long created;
        int id;
        char name[32];
    } customer;
    long price_cents;
    short currency;
    int number;
};
#endif

static volatile long turnover;

__attribute__((noinline)) void place_order(const struct order *order)
{
    __asm__ volatile("" : : "r"(order) : "memory");
    turnover += order->price_cents;
}

int main(void)
{
    puts("ready");
    fflush(stdout);
    for (char c; read(0, &c, 1) == 1;) {
        struct order order = {.number = 42, .price_cents = 1999, .customer = {.name = "Ada", .id = 7}};
        place_order(&order);
        puts("done");
        fflush(stdout);
    }
    return 0;
}
