/*
 * The programs of the benchmark: compiled for eBPF, each in a section of its own, and for this machine by the
 * same compiler. All work on 8 KiB of memory that they get the address of; what they return is compared.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct memory {
    u8 in[2048];
    u8 out[2048];
    u64 slots[512];
};

#define PROGRAM(name) __attribute__((section("program/" #name), used)) u64 name(struct memory *m)

PROGRAM(nothing)
{
    return 0;
}

PROGRAM(log2_histogram)
{
    u64 value = *(u64 *)m->in | 1;
    u32 slot = 0;
    if (value >> 32)
        value >>= 32, slot += 32;
    if (value >> 16)
        value >>= 16, slot += 16;
    if (value >> 8)
        value >>= 8, slot += 8;
    if (value >> 4)
        value >>= 4, slot += 4;
    if (value >> 2)
        value >>= 2, slot += 2;
    slot += value >> 1 & 1;
    return ++m->slots[slot & 63];
}

PROGRAM(prime)
{
    u32 number = 7919;
#pragma clang loop unroll(disable)
    for (u32 i = 2; i < 90; i++)
        if (number % i == 0)
            return i;
    return *(u32 *)m->in & 1;
}

PROGRAM(fnv1a)
{
    u64 hash = 0xcbf29ce484222325;
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < 64; i++)
        hash = (hash ^ m->in[i]) * 0x100000001b3;
    return hash;
}

PROGRAM(copy_words)
{
    const u64 *in = (const u64 *)m->in;
    u64 *out = (u64 *)m->out;
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < 64; i++)
        out[i] = in[i];
    return out[63];
}

PROGRAM(copy_bytes)
{
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < 512; i++)
        m->out[i] = m->in[i];
    return m->out[511];
}

PROGRAM(sieve)
{
    u32 primes = 0;
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < 1000; i++)
        m->out[i] = 1;
#pragma clang loop unroll(disable)
    for (u32 i = 2; i < 1000; i++) {
        if (!m->out[i])
            continue;
        primes++;
#pragma clang loop unroll(disable)
        for (u32 j = i * i; j < 1000; j += i)
            m->out[j] = 0;
    }
    return primes;
}

/* A hash loop: open addressing over the slots. */
PROGRAM(hash_table)
{
    u64 found = 0;
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < 512; i++)
        m->slots[i] = 0;
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < 128; i++) {
        u64 key = ((const u64 *)m->in)[i] | 1;
        u32 place = key * 0x9e3779b97f4a7c15 >> 55;
#pragma clang loop unroll(disable)
        for (u32 tries = 0; tries < 8; tries++) {
            u64 *slot = &m->slots[(place + tries) & 511];
            if (*slot == key)
                found++;
            if (*slot == key || *slot == 0) {
                *slot = key;
                break;
            }
        }
    }
    return found;
}

/* The Internet checksum, RFC 1071. */
PROGRAM(checksum)
{
    const u16 *words = (const u16 *)m->in;
    u64 sum = 0;
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < 700; i++)
        sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

PROGRAM(crc32)
{
    u32 crc = ~0u;
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < 64; i++) {
        crc ^= m->in[i];
#pragma clang loop unroll(disable)
        for (u32 bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320 & -(crc & 1));
    }
    return ~crc;
}

PROGRAM(sort)
{
    u32 *numbers = (u32 *)m->out;
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < 48; i++)
        numbers[i] = ((const u32 *)m->in)[i];
#pragma clang loop unroll(disable)
    for (u32 i = 1; i < 48; i++) {
        u32 number = numbers[i];
        u32 j = i;
#pragma clang loop unroll(disable)
        for (; j > 0; j--) {
            u32 before = numbers[(j - 1) & 63];
            if (before <= number)
                break;
            numbers[j & 63] = before;
        }
        numbers[j & 63] = number;
    }
    return numbers[24];
}

/* Ethernet, IPv4 with options, TCP or UDP: the ports. */
PROGRAM(parse_packet)
{
    if (*(u16 *)(m->in + 12) != 0x0008)
        return 1;
    u32 header = (m->in[14] & 15) * 4;
    if (header < 20)
        return 2;
    u8 protocol = m->in[23];
    if (protocol != 6 && protocol != 17)
        return 3;
    u32 ports = *(u32 *)(m->in + 14 + header);
    return (u64) * (u32 *)(m->in + 26) << 32 | ports;
}

PROGRAM(compare_text)
{
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < 256; i++) {
        if (m->in[i] != m->in[i + 1024])
            return i;
        if (!m->in[i])
            break;
    }
    return 1000;
}
