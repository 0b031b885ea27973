/* What guests log. */
#include "launcher.h"
#include <stdio.h>
#include <string.h>

/* Ranges without characters that control, that nobody sees, or that a newer Unicode may have; all others are
 * written out. */
bool log_is_printable(uint32_t character)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x20, 0x7e},     {0xa1, 0xac},     {0xae, 0x24f},    {0x391, 0x3a1},   {0x3a3, 0x3c9},
        {0x410, 0x44f},   {0x2010, 0x2027}, {0x2030, 0x205e}, {0x20a0, 0x20bf}, {0x2190, 0x23ff},
        {0x2500, 0x27bf}, {0x3041, 0x3096}, {0x30a1, 0x30fa}, {0x4e00, 0x9fef}, {0xac00, 0xd7a3},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (character >= ranges[i].first && character <= ranges[i].last)
            return true;
    return false;
}

/* A character of UTF-8; how many bytes it takes. One that is none is U+FFFD, and takes what could have been
 * one (Unicode 15, section 3.9). */
static uint32_t decode(const uint8_t *text, uint32_t bytes, uint32_t *out)
{
    const uint8_t first = text[0];
    uint32_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t character = length == 1 ? first : length ? first & (0x7fu >> length) : 0, at = 1;
    if (first > 0xf4)
        length = 0;
    for (; at < length && at < bytes; at++) {
        uint8_t low = at > 1 ? 0x80 : first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        uint8_t high = at > 1 ? 0xbf : first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (text[at] < low || text[at] > high)
            break;
        character = character << 6 | (text[at] & 0x3fu);
    }
    *out = at == length ? character : 0xfffd;
    return at;
}

void log_print(uint32_t level, const char *text, uint32_t bytes)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    flockfile(stderr);
    fprintf(stderr, "%s: ", names[level < 3 ? level : 3]);
    for (uint32_t at = 0, length; at < bytes; at += length) {
        uint32_t character;
        length = decode((const uint8_t *)text + at, bytes - at, &character);
        if (character == 0xfffd)
            fputs("\xef\xbf\xbd", stderr);
        else if (log_is_printable(character))
            fwrite(text + at, 1, length, stderr);
        else if (character == '\n' || character == '\t' || character == '\r')
            fprintf(stderr, "\\%c", character == '\n' ? 'n' : character == '\t' ? 't' : 'r');
        else
            fprintf(stderr,
                    character < 0x100     ? "\\x%02x"
                    : character < 0x10000 ? "\\u%04x"
                                          : "\\U%08x",
                    character);
    }
    fputc('\n', stderr);
    fflush(stderr);
    funlockfile(stderr);
}
