#include "wasm_bpf.h"

int main(void)
{
    ATTACH(NULL, NULL);
    return 0;
}
