/* CRC-32C (Castagnoli), by the CPU's instruction where it has one. Three streams run at once, because the
 * instruction takes three cycles but one can start in each; they are joined by a table that advances a CRC
 * over a block of zeros. */
#include "wbpf/pool.h"
#include <string.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

#define POLYNOMIAL  0x82F63B78u /* bit-reversed */
#define BLOCK_BYTES 512         /* of one stream */

typedef uint32_t crc_function(uint32_t crc, const uint8_t *data, size_t bytes);

static uint32_t byte_table[8][256];
static uint32_t shift_table[4][256]; /* CRC advanced over BLOCK_BYTES zeros, by byte of the CRC */

static uint32_t crc_by_table(uint32_t crc, const uint8_t *data, size_t bytes)
{
    for (; bytes >= 8; bytes -= 8, data += 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        word ^= crc;
        crc = 0;
        for (unsigned i = 0; i < 8; i++)
            crc ^= byte_table[7 - i][(word >> (8 * i)) & 255];
    }
    while (bytes--)
        crc = byte_table[0][(crc ^ *data++) & 255] ^ (crc >> 8);
    return crc;
}

static uint32_t shift_block(uint32_t crc)
{
    return shift_table[0][crc & 255] ^ shift_table[1][(crc >> 8) & 255] ^ shift_table[2][(crc >> 16) & 255] ^
           shift_table[3][crc >> 24];
}

#if defined(__x86_64__)
#define CRC_TARGET          __attribute__((target("sse4.2")))
#define CRC_WORD(crc, word) ((uint32_t)_mm_crc32_u64(crc, word))
#define CRC_BYTE(crc, byte) _mm_crc32_u8(crc, byte)
static bool have_crc_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
#define CRC_TARGET          __attribute__((target("+crc")))
#define CRC_WORD(crc, word) __crc32cd(crc, word)
#define CRC_BYTE(crc, byte) __crc32cb(crc, byte)
static bool have_crc_instruction(void)
{
    return getauxval(AT_HWCAP) & (1 << 7);
} /* HWCAP_CRC32 */
#endif

#ifdef CRC_TARGET
CRC_TARGET static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *data, size_t bytes)
{
    uint64_t a, b, c;
    for (; bytes >= 3 * BLOCK_BYTES; bytes -= 3 * BLOCK_BYTES, data += 3 * BLOCK_BYTES) {
        uint32_t second = 0, third = 0;
        for (size_t i = 0; i < BLOCK_BYTES; i += 8) {
            memcpy(&a, data + i, 8);
            memcpy(&b, data + BLOCK_BYTES + i, 8);
            memcpy(&c, data + 2 * BLOCK_BYTES + i, 8);
            crc = CRC_WORD(crc, a);
            second = CRC_WORD(second, b);
            third = CRC_WORD(third, c);
        }
        crc = shift_block(shift_block(crc) ^ second) ^ third;
    }
    for (; bytes >= 8; bytes -= 8, data += 8) {
        memcpy(&a, data, 8);
        crc = CRC_WORD(crc, a);
    }
    while (bytes--)
        crc = CRC_BYTE(crc, *data++);
    return crc;
}
#endif

static crc_function *chosen = crc_by_table;

__attribute__((constructor)) static void choose(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
        byte_table[0][i] = crc;
    }
    for (unsigned i = 0; i < 256; i++)
        for (unsigned k = 1; k < 8; k++)
            byte_table[k][i] = (byte_table[k - 1][i] >> 8) ^ byte_table[0][byte_table[k - 1][i] & 255];
    static const uint8_t zeros[BLOCK_BYTES];
    for (unsigned i = 0; i < 256; i++)
        for (unsigned k = 0; k < 4; k++)
            shift_table[k][i] = crc_by_table((uint32_t)i << (8 * k), zeros, sizeof zeros);
#ifdef CRC_TARGET
    if (have_crc_instruction())
        chosen = crc_by_instruction;
#endif
}

uint32_t wbpf_crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return ~chosen(~crc, data, bytes);
}

uint32_t wbpf_crc32c_by_table(uint32_t crc, const void *data, size_t bytes)
{
    return ~crc_by_table(~crc, data, bytes);
}
