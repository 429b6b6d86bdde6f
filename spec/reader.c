/* A reader of the `.dsvd` container, format version 1, written from dsvd-container-v1.md alone.
 *
 *     reader CONTAINER BASE OUTPUT [TAU]
 *
 * Exit status: 0, or 2 container, 3 unsupported, 4 base, 5 result, 1 trouble with files or memory. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;
typedef struct { const u8 *p; u64 n; } Str;
#define UINT_MAX53 ((1ULL << 53) - 1)

/* ---- Errors ---- */
enum { TROUBLE = 1, CONTAINER, UNSUPPORTED, BASE, RESULT };
static char **made;         /* files and folders made so far, that an error removes */
static size_t n_made, room_made;
static void undo(void) { while (n_made) remove(made[--n_made]); }
_Noreturn static void die(int kind, const char *format, ...) {
    va_list list; va_start(list, format); vfprintf(stderr, format, list); va_end(list); fputc('\n', stderr);
    undo();
    exit(kind);
}
#define MUST(rule, condition, text) do { if (!(condition)) die(CONTAINER, rule ": " text); } while (0)
#define DIE_IF(condition, kind, ...) do { if (condition) die(kind, __VA_ARGS__); } while (0)
#define BAD_JSON_IF(condition, what) do { if (condition) bad_json(what); } while (0)
static void *take(u64 count, u64 size) {
    if (!count) count = 1;
    void *p = count > SIZE_MAX / size ? NULL : calloc(count, size); DIE_IF(!p, TROUBLE, "out of memory"); return p;
}
static void copy(u8 *to, const u8 *from, u64 n) { if (n) memcpy(to, from, n); }
static int compare(Str a, Str b) {
    u64 n = a.n < b.n ? a.n : b.n; int c = n ? memcmp(a.p, b.p, n) : 0; return c ? c : (a.n > b.n) - (a.n < b.n);
}
static int is(Str a, const char *b) { return a.n == strlen(b) && !memcmp(a.p, b, a.n); }

/* ---- Notation ---- */
static int bits_of(u64 v) {
    int n = 0;
    for (; v; v >>= 1) n++;
    return n;
}
static u32 get32(const u8 *p) { return p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24; }
static u64 get64(const u8 *p) { return get32(p) | (u64)get32(p + 4) << 32; }
static double f64_of(u64 v) { double d; memcpy(&d, &v, 8); return d; }
static float f32_of(u32 v) { float f; memcpy(&f, &v, 4); return f; }
static u32 bits_f32(float f) { u32 v; memcpy(&v, &f, 4); return v; }
/* RN_F16 of a binary32 that is no NaN. */
static uint16_t to_f16(float f) {
    u32 v = bits_f32(f), sign = v >> 16 & 0x8000, e = v >> 23 & 255, m = v & 0x7FFFFF;
    if (e == 255) return (uint16_t)(sign | 0x7C00);
    if (e < 102) return (uint16_t)sign;                 /* below half of 2^-24: zero */
    u32 shift = 13, whole;
    if (e < 113) { m |= 0x800000; shift = 126 - e; whole = 0; }     /* subnormal */
    else whole = (e - 112) << 10;
    u32 kept = m >> shift, rest = m & ((1U << shift) - 1), half = 1U << (shift - 1);
    kept += rest > half || (rest == half && (kept & 1));
    return (uint16_t)(sign | (whole + kept > 0x7C00 ? 0x7C00 : whole + kept));
}
/* RN_BF16 of a binary32 that is no NaN. */
static uint16_t to_bf16(float f) { u32 v = bits_f32(f); return (uint16_t)((v + 0x7FFF + (v >> 16 & 1)) >> 16); }
static double from_f16(u32 v) {
    int e = (int)(v >> 10 & 31), m = (int)(v & 1023);
    double d = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24); return v & 0x8000 ? -d : d;
}

/* ---- SHA-256 ---- */
static void sha_block(u32 *h, const u8 *p) {
    static const u32 k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
#define ROT(x, n) ((x) >> (n) | (x) << (32 - (n)))
    u32 w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (u32)p[4 * i] << 24 | (u32)p[4 * i + 1] << 16 | (u32)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (ROT(w[i - 15], 7) ^ ROT(w[i - 15], 18) ^ w[i - 15] >> 3)
             + (ROT(w[i - 2], 17) ^ ROT(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, h, 32);
    for (int i = 0; i < 64; i++) {
        u32 t = s[7] + (ROT(s[4], 6) ^ ROT(s[4], 11) ^ ROT(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
        u32 o = (ROT(s[0], 2) ^ ROT(s[0], 13) ^ ROT(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 28); s[4] += t; s[0] = t + o;
    }
    for (int i = 0; i < 8; i++) h[i] += s[i];
}
static void sha256(const u8 *p, u64 n, u8 *out) {
    u32 h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    u64 whole = n / 64 * 64, rest = n - whole; u8 last[128] = {0};
    for (u64 i = 0; i < whole; i += 64) sha_block(h, p + i);
    if (rest) memcpy(last, p + whole, rest);
    last[rest] = 0x80; int size = rest < 56 ? 64 : 128;
    for (int i = 0; i < 8; i++) last[size - 1 - i] = (u8)(n * 8 >> 8 * i);
    for (int i = 0; i < size; i += 64) sha_block(h, last + i);
    for (int i = 0; i < 32; i++) out[i] = (u8)(h[i / 4] >> (24 - i % 4 * 8));
}
static int has_sha256(const u8 *p, u64 n, const u8 *digest) {
    u8 found[32]; sha256(p, n, found); return !memcmp(found, digest, 32);
}

/* ---- Text ---- */
/* F4 and S1: no overlong form, no surrogate, nothing above U+10FFFF. */
static int is_utf8(const u8 *p, u64 n) {
    for (u64 i = 0; i < n;) {
        u32 c = p[i++];
        if (c < 0x80) continue;
        int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4 || n - i < (u64)more) return 0;
        u32 v = c & (0x3F >> more);
        for (int j = 0; j < more; j++) {
            if ((p[i] & 0xC0) != 0x80) return 0;
            v = v << 6 | (p[i++] & 0x3F);
        }
        if (more > 1 && v < (more == 2 ? 0x800U : 0x10000U)) return 0;
        if ((v >= 0xD800 && v < 0xE000) || v > 0x10FFFF) return 0;
    }
    return 1;
}
typedef struct { u8 *p; u64 n, room; } Buf;
static void put(Buf *b, const void *p, u64 n) {
    if (n > b->room - b->n) {
        b->room = (b->n + n) * 2; b->p = realloc(b->p, b->room); DIE_IF(!b->p, TROUBLE, "out of memory");
    }
    copy(b->p + b->n, p, n); b->n += n;
}
static void putf(Buf *b, const char *format, ...) { /* for short pieces */
    char s[256]; va_list list; va_start(list, format); put(b, s, (u64)vsnprintf(s, sizeof s, format, list));
    va_end(list);
}

/* ---- Dtypes and shapes ---- */
enum { F64, I64, U64, C64, F32, I32, U32, F16, BF16, F8_E4M3 = 11, F8_E5M2 = 13, F8_E8M0 = 15, I8, U8, DTYPES = 22 };
static const char *const dtype_names[DTYPES] = {
    "F64", "I64", "U64", "C64", "F32", "I32", "U32", "F16", "BF16", "I16", "U16", "F8_E4M3", "F8_E4M3FNUZ",
    "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0", "I8", "U8", "BOOL", "F6_E2M3", "F6_E3M2", "F4"};
static const u8 dtype_bits[DTYPES] = {64, 64, 64, 64, 32, 32, 32, 16, 16, 16, 16, 8, 8, 8, 8, 8, 8, 8, 8, 6, 6, 4};
static int is_delta(int dtype) { return dtype == F32 || dtype == F16 || dtype == BF16; }
typedef struct { int dtype, nd; u64 *dims, elements, bytes; } Kind;     /* dtype and shape */
static u64 product(const u64 *dims, int from, int to) { /* of a shape that keeps R2 */
    u64 n = 1;
    for (int i = from; i < to; i++) n *= dims[i];
    return n;
}
/* R2 and R3: NULL, or what is broken. */
static const char *size_up(Kind *k) {
    u64 n = 16;
    for (int i = 0; i < k->nd; i++) {
        if (k->dims[i] && k->dims[i] > UINT_MAX53 / n) return "R2: the product of a shape is too large";
        if (k->dims[i]) n *= k->dims[i];
    }
    k->elements = product(k->dims, 0, k->nd); u64 bits = k->elements * dtype_bits[k->dtype];
    if (bits % 8) return "R3: a tensor is of no whole bytes";
    k->bytes = bits / 8; return NULL;
}
static int same_kind(const Kind *a, const Kind *b) {
    return a->dtype == b->dtype && a->nd == b->nd && (!a->nd || !memcmp(a->dims, b->dims, 8 * (size_t)a->nd));
}
static int name_is_bad(Str s) { /* R1 */
    return is(s, "__metadata__") || (s.n && memchr(s.p, 0, s.n));
}

/* ---- Compression ---- */
static u8 *unpack(const u8 *p, u64 stored, u64 raw) {
    MUST("Z1", stored >= 4 && get32(p) == 0xFD2FB528, "no zstd frame"); MUST("Z5", stored >= 5, "the frame is cut");
    int d = p[4], single = d >> 5 & 1, size_flag = d >> 6, dict = d & 3;
    u64 at = 5 + !single, dict_bytes = dict == 3 ? 4 : (u64)dict;
    u64 size_bytes = size_flag ? 1ULL << size_flag : (u64)single, v = 0;
    MUST("Z2", size_bytes, "the frame does not state its content size");
    MUST("Z5", stored >= at + dict_bytes + size_bytes, "the frame is cut");
    for (u64 i = 0; i < size_bytes; i++) v |= (u64)p[at + dict_bytes + i] << 8 * i;
    if (size_bytes == 2) v += 256;
    MUST("Z2", v == raw, "the frame states another content size");
    if (!single) {
        u64 base = 1ULL << (10 + (p[5] >> 3));
        MUST("Z3", base + base / 8 * (p[5] & 7) <= 1ULL << 27, "the window is too large");
    }
    for (u64 i = 0; i < dict_bytes; i++) MUST("Z4", !p[at + i], "the frame needs a dictionary");
    size_t length = ZSTD_findFrameCompressedSize(p, stored); MUST("Z5", !ZSTD_isError(length), "the frame is damaged");
    MUST("Z6", length == stored, "something follows the frame"); u8 *out = take(raw, 1);
    size_t n = ZSTD_decompress(out, raw, p, stored);
    MUST("Z5", !ZSTD_isError(n) && n == raw, "the frame does not decompress"); return out;
}

/* ---- What a header holds ---- */
enum { SAME, LOW_RANK, DENSE, RAW, CAST, QUANTISED };  enum { RESHAPE, TRANSPOSE, SLICE, CONCATENATE, ROLL };
enum { TABLES, ELEMENTS, BYTES, SOURCE_HEADER, FILES, COMPONENTS, CONTENTS };  enum { TENSORS, STORED, OF_BASE };
typedef struct { Kind k; const u8 *digest, *data; } BaseTensor;
typedef struct {
    u64 of, count, start, frame, next;  /* its record or file; next part of the same and of one content, plus 1 */
    u64 place;                  /* the byte, or the number of the row, that it begins at in its frame */
} Part;
typedef struct { u64 total, seen, head, tail; } Chain;     /* the parts of one thing; head and tail plus 1 */
enum { G_E4M3, G_E5M2, G_INT8, G_E2M1, G_MAP };
typedef struct {        /* of records named: their numbers plus 1, 0 for none */
    int grid, high, multiply, tiles, second_divides; u64 codes, columns, values, scale, rows, across, second, nested, nested_scales;
    u64 nested_block; float unit, offset;
} Quantisation;
typedef struct {
    int kind, view; Str name; Kind k;
    u64 new_rows, new_bytes, common, m, n, first, rows, n_base, rank, tau_rank, noise_rank, of; BaseTensor *base;
    double nuclear; int exponent; u32 maximum; Chain chain[CONTENTS];
    signed char *e; u32 *max_a, *max_b, *s;     /* component tables */
    Quantisation q;
    u64 used_rank; int used;    /* the rank for the tau asked for; D4, S2: how often a result names it */
} Record;
typedef struct { u64 length; u32 max, class; int strings; u32 at[4]; } Row;
typedef struct {
    int content; u64 raw, stored, at, part0, parts; const u8 *digest;
    u8 *data; Row *rows;        /* when it has been decompressed */
} Frame;
typedef struct { int kind; Str path, prefix; const u8 *digest, *data; u64 size; Chain chain; } File;
typedef struct { Str name; Kind k; u64 begin, end, record; } Entry;
typedef struct { Str key, value; } Pair;
typedef struct { const u8 *p; u64 n, entries, pairs, size; Entry *entry; Pair *pair; } Source;
typedef struct {
    Str path, prefix; const u8 *digest; u64 size, entries, data; Entry *entry;
    Source *source; int kept;   /* its source header, or none; it is the source file again */
} Result;
static const u8 *file, *base_digest, *source_digest;        /* file: the container, of F bytes */
static u64 F, n_records, n_frames, n_parts, n_files, n_results, tau, source_size;
static Record *records;  static Frame *frames;  static Part *parts;  static File *files;  static Result *results;
static u8 content_digest[32];

/* ---- Fields ---- */
static const u8 *at, *end; static u64 entries, dimensions;
static const u8 *bytes(u64 n) {
    MUST("F1", n <= (u64)(end - at), "the header ends within a field"); at += n; return at - n;
}
static u64 uint_(void) {
    u64 v = 0;
    for (int i = 0;; i += 7) {
        u8 c = *bytes(1); v |= (u64)(c & 127) << i;
        if (c < 128) { MUST("F2", c || !i, "an integer is longer than it need be"); break; }
        MUST("F3", i < 49, "an integer is over 2^53 - 1");
    }
    MUST("F3", v <= UINT_MAX53, "an integer is over 2^53 - 1"); return v;
}
static u64 uint_within(u64 least, u64 most) {
    u64 v = uint_(); MUST("F3", v >= least && v <= most, "an integer is out of its bounds"); return v;
}
static int code(int words) { int v = *bytes(1); MUST("F5", v < words, "a code is not known"); return v; }
static Str text(u64 least, u64 most) {
    Str s; s.n = uint_(); MUST("F4", s.n >= least && s.n <= most, "a text is too short or too long"); s.p = bytes(s.n);
    MUST("F4", is_utf8(s.p, s.n), "a text is not UTF-8"); return s;
}
static double f64(int weight) {
    u64 v = get64(bytes(8)); MUST("F6", (v >> 52 & 2047) != 2047, "a number is not finite");
    MUST("F6", weight ? v != 1ULL << 63 : !(v >> 63), "a number has a minus sign"); return f64_of(v);
}
static float f32(void) {
    u32 v = get32(bytes(4)); MUST("F6", v < 0x7F800000, "a number is not finite, or has a minus sign"); return f32_of(v);
}
static u64 list(u64 least, u64 most) {
    u64 n = uint_(); MUST("L4", n >= least && n <= most, "a list is too short or too long"); entries += n;
    MUST("L1", entries <= (1 << 16) + F / 8, "the lists have too many entries"); return n;
}
static void dtype_and_shape(Kind *k) {
    k->dtype = code(DTYPES); u64 nd = uint_(); MUST("L4", nd <= 32, "a shape has too many dimensions");
    dimensions += nd; MUST("L2", dimensions <= (1 << 17) + F, "the shapes have too many dimensions"); k->nd = (int)nd;
    k->dims = take(nd, 8);
    for (u64 i = 0; i < nd; i++) k->dims[i] = uint_();
    const char *broken = size_up(k); DIE_IF(broken, CONTAINER, "%s", broken);
}

/* ---- Header: merge and tree ---- */
static int by_digest(const void *a, const void *b) { return memcmp(*(const u8 *const *)a, *(const u8 *const *)b, 32); }
static void read_merge(void) {
    u64 n = list(0, 1 << 12), k;
    if (!n) return;
    const u8 **digest = take(n, sizeof *digest);
    for (u64 i = 0; i < n; i++) { digest[i] = bytes(32); text(1, 4096); f64(1); }
    qsort(digest, n, sizeof *digest, by_digest);
    for (u64 i = 1; i < n; i++) MUST("H4", memcmp(digest[i - 1], digest[i], 32), "a container stands twice in a merge");
    free(digest);
    for (k = list(0, 1 << 12); k; k--) {
        text(1, 4096); f64(1); MUST("H5", uint_() <= n, "a layer is for a version that is not there");
    }
    MUST("H5", uint_() <= n, "a merge takes from a version that is not there");
}
/* D1: a path that goes down, of names that every system takes. */
static int path_is_good(Str s) {
    for (u64 i = 0; i < s.n; i++) if (s.p[i] < 32 || s.p[i] == 127 || strchr("\\:*?\"<>|", s.p[i])) return 0;
    for (u64 i = 0, from = 0; i <= s.n; i++) {
        if (i < s.n && s.p[i] != '/') continue;
        if (i == from || s.p[i - 1] == '.' || s.p[i - 1] == ' ') return 0;
        if (i - from >= 10 && !memcmp(s.p + from, ".dsvd-tmp-", 10)) return 0;
        from = i + 1;
    }
    return 1;
}
static int by_path(const void *a, const void *b) { return compare(((const File *)a)->path, ((const File *)b)->path); }
static void read_tree(void) {
    n_files = list(0, 1 << 14); files = take(n_files, sizeof *files);
    for (u64 i = 0; i < n_files; i++) {
        File *f = files + i; f->kind = code(3); f->path = text(1, 4096);
        MUST("D1", path_is_good(f->path), "a path is not allowed");
        MUST("D2", !i || compare(f[-1].path, f->path) < 0, "the paths do not ascend");
        if (f->kind == TENSORS) { f->prefix = text(0, 4096); n_results++; continue; }
        f->digest = bytes(32); f->size = uint_(); f->chain.total = f->kind == STORED ? f->size : 0;
    }
    for (u64 i = 0; i < n_files; i++)
        for (u64 j = 0; j < files[i].path.n; j++) {
            File folder = {.path = {files[i].path.p, j}};
            if (files[i].path.p[j] == '/')
                MUST("D2", !bsearch(&folder, files, n_files, sizeof *files, by_path), "a path is another's folder");
        }
    MUST("D3", !n_files || n_results, "a tree has no file of tensors");
}

/* ---- Records ---- */
static void read_view(Record *r) { /* the base tensors of a record, and V1 to V4 */
    r->view = code(5);
    if (r->view == SLICE) { r->first = uint_(); r->rows = uint_within(1, UINT_MAX53); }
    if (r->view == ROLL) r->first = uint_within(1, UINT_MAX53);
    r->n_base = list(1, 64); r->base = take(r->n_base, sizeof *r->base);
    for (u64 i = 0; i < r->n_base; i++) {
        BaseTensor *b = r->base + i;
        MUST("R1", !name_is_bad(text(1, 4096)), "the name of a base tensor is not allowed"); dtype_and_shape(&b->k);
        b->digest = bytes(32);
    }
    const BaseTensor *b = r->base; int deltas = is_delta(r->k.dtype), equal = 1;
    for (u64 i = 0; i < r->n_base; i++) {
        deltas = deltas && is_delta(b[i].k.dtype); equal = equal && b[i].k.dtype == r->k.dtype;
    }
    if (r->kind == QUANTISED)
        for (u64 i = 0; i < r->n_base; i++) MUST("R4", is_delta(b[i].k.dtype), "the dtypes of a base are not quantised");
    else MUST("R4", deltas || (r->kind == SAME && equal), "the dtypes take no delta, or differ");
    MUST("V1", r->view == CONCATENATE ? r->n_base > 1 : r->n_base == 1, "a view has the wrong number of base tensors");
    u64 elements = b->k.elements;
    if (r->view == TRANSPOSE) MUST("V2", b->k.nd == 2, "the transpose of what is no matrix");
    if (r->view == SLICE) {
        MUST("V2", b->k.nd && r->first + r->rows <= b->k.dims[0], "a slice goes beyond its tensor");
        elements = r->rows * product(b->k.dims, 1, b->k.nd);
    }
    if (r->view == ROLL) MUST("V2", b->k.nd && r->first < b->k.dims[0], "a roll from a row that its tensor lacks");
    if (r->view == CONCATENATE)
        for (u64 i = 0; i < r->n_base; i++) {
            MUST("V2", b[i].k.nd && b[i].k.nd == b->k.nd && b[i].k.dtype == b->k.dtype
                 && !memcmp(b[i].k.dims + 1, b->k.dims + 1, 8 * (size_t)(b->k.nd - 1)), "tensors that do not join");
            if (i) elements += b[i].k.elements;
        }
    MUST("V3", elements == r->common, "the view has another number of elements");
    MUST("V4", r->view == RESHAPE || dtype_bits[b->k.dtype] % 8 == 0, "a view of elements of less than a byte");
}
/* "Quantised weights": the fields. */
static void read_quantisation(Record *r) {
    Quantisation *q = &r->q; q->grid = code(5);
    if (q->grid >= G_E2M1) q->high = code(2);
    q->columns = uint_within(1, UINT_MAX53); q->multiply = code(2);
    if (q->grid == G_MAP) q->values = uint_() + 1;
    q->scale = uint_();
    if (!q->scale) return;
    q->rows = uint_within(1, UINT_MAX53); q->across = uint_within(1, UINT_MAX53); q->tiles = code(2); q->unit = f32();
    MUST("F3", q->unit > 0, "the unit of a scale is 0"); q->second = uint_();
    if (q->second) q->second_divides = code(2);
    q->nested = uint_();
    if (!q->nested) return;
    q->nested_scales = uint_() + 1; q->nested_block = uint_within(1, UINT_MAX53); q->offset = f32();
}
static u64 ceiling(u64 a, u64 b) { return a / b + (a % b != 0); }
/* How many scales a tensor has, with what fills its tiles; *across: blocks in a row. */
static u64 count_scales(const Quantisation *q, u64 *across) {
    u64 down = ceiling(q->codes / q->columns, q->rows); *across = ceiling(q->columns, q->across);
    return q->tiles ? 512 * ceiling(down, 128) * ceiling(*across, 4) : down * *across;
}
static void check_named(u64 place, u64 dtypes, u64 count) {
    MUST("R14", place && place <= n_records && records[place - 1].kind == RAW, "a quantisation names no raw record");
    const Kind *k = &records[place - 1].k;
    MUST("R14", dtypes >> k->dtype & 1, "a scale is of another dtype"); MUST("R14", k->elements == count, "there are more or fewer scales");
}
static void check_quantisation(const Record *r) {
    const Quantisation *q = &r->q; u64 across, f32s = 1ULL << F32;
    u64 scales = f32s | 1ULL << F16 | 1ULL << BF16 | 1ULL << F8_E4M3 | 1ULL << F8_E5M2 | 1ULL << F8_E8M0 | 1ULL << U8;
    if (q->values) check_named(q->values, f32s, 16);
    if (!q->scale) return;
    u64 count = count_scales(q, &across); check_named(q->scale, q->nested ? 1ULL << U8 : scales, count);
    if (q->second) check_named(q->second, f32s, 1);
    if (q->nested) {
        check_named(q->nested, f32s, 256); check_named(q->nested_scales, f32s, ceiling(count, q->nested_block));
    }
}
static void read_record(Record *r) {
    r->kind = code(6); r->name = text(1, 4096); MUST("R1", !name_is_bad(r->name), "a name is not allowed");
    dtype_and_shape(&r->k); Kind *k = &r->k; r->common = k->elements;
    if (r->kind == QUANTISED) {
        static const int of_grid[] = {F8_E4M3, F8_E5M2, I8, U8, U8};
        MUST("R12", !uint_(), "codes have no new rows"); const u8 *from = at; /* the view is checked when N is known */
        r->view = code(4);
        if (r->view == SLICE) { uint_(); uint_(); }
        for (u64 i = uint_(); i; i--) {
            text(1, 4096); code(DTYPES);
            for (u64 d = uint_(); d; d--) uint_();
            bytes(32);
        }
        read_quantisation(r); const u8 *after = at; Quantisation *q = &r->q;
        MUST("R12", k->dtype == of_grid[q->grid], "the dtype is not that of the grid");
        q->codes = q->grid >= G_E2M1 ? 2 * k->elements : k->elements;
        MUST("R13", q->codes && q->codes % q->columns == 0, "the codes are no rows of so many columns");
        r->common = q->codes; at = from; read_view(r); at = after;
    } else if (r->kind <= DENSE) {
        r->new_rows = uint_();
        MUST("R5", !r->new_rows || (k->nd && r->new_rows < k->dims[0]), "as many new rows as rows, or more");
        r->n = product(k->dims, k->nd ? 1 : 0, k->nd); r->m = k->nd ? k->dims[0] - r->new_rows : 1;
        r->common = r->m * r->n; r->new_bytes = (k->elements - r->common) * dtype_bits[k->dtype] / 8; read_view(r);
    }
    if (r->kind == LOW_RANK) {
        r->rank = uint_within(1, UINT_MAX53); r->tau_rank = uint_within(1, UINT_MAX53); r->noise_rank = uint_();
        u64 most = r->m < r->n ? r->m : r->n; MUST("R6", k->nd >= 2, "a low_rank that is no matrix");
        MUST("R6", r->rank <= most && r->tau_rank <= most && r->noise_rank <= most, "a rank is too large");
        r->nuclear = f64(0); MUST("R7", r->nuclear > 0, "a nuclear norm is 0");
        r->chain[TABLES].total = r->chain[COMPONENTS].total = r->rank;
    }
    if (r->kind == DENSE) {
        MUST("R8", r->common, "a dense of no element"); r->exponent = (signed char)*bytes(1);
        r->maximum = (u32)uint_within(1, 0x7FFFFFFF);
        MUST("R9", r->exponent >= -126 && r->exponent + bits_of(r->maximum) <= 126, "an exponent is out of bounds");
        r->chain[ELEMENTS].total = r->common;
    }
    if (r->kind == LOW_RANK || r->kind == DENSE) { f32(); f32(); f32(); }
    if (r->kind == RAW) code(11);
    if (r->kind == CAST) r->of = uint_();
    r->chain[BYTES].total = r->kind == RAW ? k->bytes : r->new_bytes;
}
static void read_records(void) {
    u64 components = 0; n_records = list(0, 1 << 17); records = take(n_records, sizeof *records);
    for (u64 i = 0; i < n_records; i++) {
        read_record(records + i);
        MUST("H6", !i || compare(records[i - 1].name, records[i].name) < 0, "the names do not ascend");
        components += records[i].rank;      /* at most 2^49 each */
        MUST("L3", components <= 1 << 22 && components <= (1 << 16) + F / 4, "too many components");
    }
    for (u64 i = 0; i < n_records; i++) {
        Record *r = records + i;
        if (r->kind == QUANTISED) check_quantisation(r);
        if (r->kind != CAST) continue;
        MUST("R10", r->of < n_records && records[r->of].kind != CAST, "a cast of nothing, or of a cast");
        Kind other = records[r->of].k;
        MUST("R11", is_delta(r->k.dtype) && is_delta(other.dtype), "a cast between dtypes that take no delta");
        other.dtype = r->k.dtype; MUST("R11", same_kind(&r->k, &other), "a cast of another shape");
    }
}

/* ---- Rows: their sizes, for M6 ---- */
static const int digits_in_byte[8] = {0, 5, 3, 2, 2, 2, 2, 2};
static u64 row_size(u64 length, u32 max) {
    if (max <= 7) return length / (u64)digits_in_byte[max] + (length % (u64)digits_in_byte[max] != 0);
    return length * (u64)((bits_of(2ULL * max) + 7) / 8);
}

/* ---- Frames; prologue and header as a whole ---- */
static Chain *chain_of(int content, u64 i) { return content == FILES ? &files[i].chain : &records[i].chain[content]; }
/* The size of a part; of `components` only after the tables have been read. */
static u64 part_size(int content, const Part *p, u64 most) {
    const Record *r = records + p->of;
    if (content == TABLES) return 13 * p->count;
    if (content == ELEMENTS) return row_size(p->count, r->maximum);
    if (content != COMPONENTS) return p->count;
    u64 size = 0;
    for (u64 c = p->start; c < p->start + p->count && size <= most; c++)
        size += row_size(r->m, r->max_a[c]) + row_size(r->n, r->max_b[c]);
    return size;
}
/* M6, which also tells where each part of bytes begins. */
static void check_raw(Frame *f) {
    u64 sum = 0;
    for (u64 i = f->part0; i < f->part0 + f->parts; i++) {
        u64 size = part_size(f->content, parts + i, f->raw); parts[i].place = sum;
        MUST("M6", size <= f->raw - sum, "the parts of a frame are more than its raw"); sum += size;
    }
    MUST("M6", sum == f->raw, "the parts of a frame are less than its raw");
}
static void read_frames(void) {
    n_frames = list(0, 1 << 18); frames = take(n_frames, sizeof *frames); u64 room = 0, headers = 0, headers_raw = 0;
    for (u64 i = 0; i < n_frames; i++) {
        Frame *f = frames + i; f->content = code(CONTENTS);
        MUST("M1", !i || f[-1].content <= f->content, "the frames are not in order"); f->raw = uint_within(1, 1 << 26);
        f->stored = uint_within(1, (1 << 26) + (1 << 20));
        MUST("M7", f->raw <= 5 << 22 || f->raw <= 16 * f->stored, "a frame has a raw that is too large for its stored");
        f->digest = bytes(32); f->part0 = n_parts; f->parts = list(0, 1 << 20);
        MUST("L4", n_parts + f->parts <= 1 << 20, "too many parts");
        MUST("M2", !f->parts == (f->content == SOURCE_HEADER), "a frame without parts, or a source_header with some");
        if (f->content == SOURCE_HEADER) { headers++; headers_raw += f->raw; continue; }
        if (n_parts + f->parts > room) {
            room = 2 * (n_parts + f->parts); parts = realloc(parts, room * sizeof *parts);
            DIE_IF(!parts, TROUBLE, "out of memory");
        }
        for (u64 j = 0; j < f->parts; j++) {
            Part *p = parts + n_parts++; p->of = uint_(); p->count = uint_within(1, UINT_MAX53);
            MUST("M3", p->of < (f->content == FILES ? n_files : n_records), "a part of what is not there");
            Chain *c = chain_of(f->content, p->of); MUST("M5", c->total, "a part of what has nothing of that content");
            MUST("M4", p->count <= c->total - c->seen, "the parts are more than there is"); p->start = c->seen;
            p->frame = i; p->next = 0; c->seen += p->count;
            if (c->tail) parts[c->tail - 1].next = n_parts; else c->head = n_parts;
            c->tail = n_parts;
        }
        if (f->content != COMPONENTS) check_raw(f);
    }
    for (u64 i = 0; i < n_records; i++)
        for (int j = 0; j < CONTENTS; j++)
            MUST("M4", records[i].chain[j].seen == records[i].chain[j].total, "the parts of a record are too few");
    for (u64 i = 0; i < n_files; i++)
        MUST("M4", files[i].chain.seen == files[i].chain.total, "the parts of a file are less than there is");
    MUST("M8", n_files ? headers == n_results : headers <= 1, "not as many source headers as files of tensors");
    MUST("M9", headers_raw <= 1 << 24, "the source headers are too large");
}
/* Decoding, steps 1 to 4. */
static void read_container(void) {
    MUST("P1", F >= 8 && !memcmp(file, "\x89" "DSVD\r\n\x1A", 8), "this is no .dsvd file");
    MUST("P2", F >= 56, "the prologue is cut");
    DIE_IF(get32(file + 8) != 1, UNSUPPORTED, "P3: format version %lu is not known", (unsigned long)get32(file + 8));
    u64 S = get32(file + 12), H = get32(file + 16); MUST("P4", !get32(file + 20), "bytes 20 to 23 are not zero");
    MUST("P5", S <= (1 << 26) + (1 << 20) && H <= 1 << 26, "the header is too large");
    MUST("P6", H <= 1 << 22 || H <= 16 * S, "the header is too large for its stored size");
    MUST("P7", F - 56 >= S, "the header is cut"); u8 *hashed = take(24 + S, 1); memcpy(hashed, file, 24);
    copy(hashed + 24, file + 56, S); MUST("P8", has_sha256(hashed, 24 + S, file + 24), "the header is damaged");
    free(hashed);
    const u8 *header = unpack(file + 56, S, H); at = header; end = header + H; u64 n = list(0, 64);
    Str feature = {NULL, 0};
    for (u64 i = 0; i < n; i++) feature = text(1, 32);
    DIE_IF(n, UNSUPPORTED, "H1: the feature %.*s is not known", (int)feature.n, (const char *)feature.p);
    base_digest = bytes(32); text(1, 4096); text(1, 32); source_digest = bytes(32); source_size = uint_();
    tau = uint_(); MUST("H2", tau >= 1 && tau <= 1000000, "tau is out of bounds"); f64(0); int aim = code(3);
    if (aim == 1) {
        double max_error = f64(0); MUST("H3", max_error > 0 && max_error < 1, "max error is out of bounds");
    }
    if (aim == 2) uint_within(1, UINT_MAX53);
    read_merge();
    for (n = list(0, 1 << 17); n; n--) { text(1, 4096); text(1, 4096); }
    read_tree(); read_records(); read_frames(); sha256(header, (u64)(at - header), content_digest);
    if (!n_files) n_results = 1;
    results = take(n_results, sizeof *results);
    for (u64 i = 0, j = 0; i < n_results; i++) {
        Result *r = results + i; r->digest = bytes(32); r->size = uint_();
        if (!n_files) continue;
        while (files[j].kind != TENSORS) j++;
        r->path = files[j].path; r->prefix = files[j++].prefix;
    }
    MUST("F7", at == end, "the header is longer than its fields"); u64 place = 56 + S;
    for (u64 i = 0; i < n_frames; i++) { frames[i].at = place; place += frames[i].stored; }
    MUST("M10", place == F, "the file does not end with its last frame");
}
/* A frame that is used: M11, Z1 to Z6. Its bytes stay in memory. */
static const u8 *open_frame(Frame *f) {
    if (!f->data) {
        MUST("M11", has_sha256(file + f->at, f->stored, f->digest), "a frame is damaged");
        f->data = unpack(file + f->at, f->stored, f->raw);
    }
    return f->data;
}

/* ---- Component tables ---- */
static u32 from_planes(const u8 *p, u64 k, u64 i) {
    return p[i] | (u32)p[k + i] << 8 | (u32)p[2 * k + i] << 16 | (u32)p[3 * k + i] << 24;
}
static void read_table(Record *r) {
    r->e = take(r->rank, 1); r->max_a = take(r->rank, 4); r->max_b = take(r->rank, 4); r->s = take(r->rank, 4);
    for (u64 j = r->chain[TABLES].head; j; j = parts[j - 1].next) {
        const Part *p = parts + j - 1; const u8 *t = open_frame(frames + p->frame) + p->place; u64 k = p->count;
        for (u64 i = 0; i < k; i++) {
            r->e[p->start + i] = (signed char)t[i]; r->max_a[p->start + i] = from_planes(t + k, k, i);
            r->max_b[p->start + i] = from_planes(t + 5 * k, k, i); r->s[p->start + i] = from_planes(t + 9 * k, k, i);
        }
    }
    int least = 127;
    for (u64 i = 0; i < r->rank; i++) {
        MUST("T1", r->s[i] && r->s[i] < 0x7F800000, "a singular value is not finite, or not greater than 0");
        MUST("T1", !i || r->s[i] <= r->s[i - 1], "the singular values rise");
        MUST("T2", r->max_a[i] - 1 < 0x7FFFFFFF && r->max_b[i] - 1 < 0x7FFFFFFF, "max|a| or max|b| is out of bounds");
        MUST("T3", r->e[i] >= -126 && r->e[i] + bits_of(r->max_a[i]) + bits_of(r->max_b[i]) <= 126, "e is out of bounds");
        if (r->e[i] < least) least = r->e[i];
    }
    u64 sum = 0, most = UINT_MAX53;
    for (u64 i = 0; i < r->rank; i++) {
        int shift = r->e[i] - least;
        u64 one = (u64)r->max_a[i] * r->max_b[i];       /* less than 2^62 */
        MUST("T4", shift < 53 && one <= (most - sum) >> shift, "the sum of components has too many bits");
        sum += one << shift;
    }
}
/* N4: the rank for x millionths. */
static u64 rank_for(const Record *r, u64 x) {
    if (x == tau) return r->rank;
    double q = (double)x / 1e6, g = q * r->nuclear, sum = 0; u64 t = r->rank + 1;
    for (u64 i = 0; i < r->rank; i++) {
        sum += (double)f32_of(r->s[i]);
        if (sum >= g) { t = i + 1; break; }
    }
    if (t > r->tau_rank) t = r->tau_rank;
    if (t <= r->rank) return t;
    MUST("N4", r->rank >= r->noise_rank, "this tau is not served"); return r->rank;
}
static void read_tables(u64 x) {
    for (u64 i = 0; i < n_records; i++) if (records[i].kind == LOW_RANK) read_table(records + i);
    for (u64 i = 0; i < n_frames; i++) if (frames[i].content == COMPONENTS) check_raw(frames + i);
    MUST("N4", x <= tau, "this tau is above the stored one");
    for (u64 i = 0; i < n_records; i++)
        if (records[i].kind == LOW_RANK) records[i].used_rank = rank_for(records + i, x);
}

/* ---- Rows ---- */
static u32 class_of(u32 max) { int low = max < 16 ? 0 : bits_of(max) - 4; return max >> low << low; }
static Row *sorted_rows;
static int by_class(const void *a, const void *b) {
    u64 i = *(const u64 *)a, j = *(const u64 *)b; u32 x = sorted_rows[i].class, y = sorted_rows[j].class;
    return x != y ? (x < y ? -1 : 1) : (i > j) - (i < j);
}
/* Where each string of each row lies in a frame of `elements` or `components`. */
static void place_rows(Frame *f) {
    u64 n = 0, place = 0;
    for (u64 i = 0; i < f->parts; i++) n += f->content == ELEMENTS ? 1 : 2 * parts[f->part0 + i].count;
    f->rows = take(n, sizeof *f->rows); Row *row = f->rows;
    for (u64 i = f->part0; i < f->part0 + f->parts; i++) {
        Part *p = parts + i; const Record *r = records + p->of; p->place = (u64)(row - f->rows);
        if (f->content == ELEMENTS) { row->length = p->count; row++->max = r->maximum; continue; }
        for (int side = 0; side < 2; side++)
            for (u64 c = p->start; c < p->start + p->count; c++, row++) {
                row->length = side ? r->n : r->m; row->max = side ? r->max_b[c] : r->max_a[c];
            }
    }
    u64 *order = take(n, sizeof *order);
    for (u64 i = 0; i < n; i++) {
        row = f->rows + i; row->class = class_of(row->max);
        row->strings = row->max <= 7 ? 1 : (bits_of(2ULL * row->max) + 7) / 8; order[i] = i;
    }
    sorted_rows = f->rows; qsort(order, n, sizeof *order, by_class);
    for (int s = 0; s < 4; s++)
        for (u64 i = 0; i < n; i++) {
            row = f->rows + order[i];
            if (s >= row->strings) continue;
            row->at[s] = (u32)place; place += row->max <= 7 ? row_size(row->length, row->max) : row->length;
        }
    free(order);
}
/* The integers of row number i of a part, and their largest magnitude. */
static u32 read_row(const Part *p, u64 i, int32_t *x) {
    Frame *f = frames + p->frame; const u8 *data = open_frame(f);
    if (!f->rows) place_rows(f);
    const Row *row = f->rows + p->place + i;
    u32 largest = 0, base = 2 * row->max + 1, digits = row->max <= 7 ? (u32)digits_in_byte[row->max] : 1, left = 0;
    for (u64 j = 0, byte = row->at[0]; j < row->length; j++) {
        u32 u = 0;
        if (row->max <= 7) {
            if (j % digits == 0) left = data[byte++];
            u = left % base; left /= base;
            if (j % digits == digits - 1) MUST("I1", !left, "a byte is too large for its digits");
        } else
            for (int s = 0; s < row->strings; s++) u |= (u32)data[row->at[s] + j] << 8 * s;
        u32 size = u / 2 + (u & 1);                 /* at most 2^31 */
        if (size > largest) largest = size;
        DIE_IF(size > row->max, CONTAINER, "%s: a row is larger than is told", f->content == ELEMENTS ? "I3" : "I2");
        x[j] = u & 1 ? -(int32_t)(u / 2) - 1 : (int32_t)(u / 2);
    }
    MUST("I1", !left, "a digit behind the last one is not 0"); return largest;
}

/* ---- Reconstruction ---- */
static double load(int dtype, const u8 *p) {
    if (dtype == F32) return (double)f32_of(get32(p));
    u32 v = (u32)p[0] | (u32)p[1] << 8; return dtype == F16 ? from_f16(v) : (double)f32_of(v << 16);
}
/* RN_T( RN_f32( v ) ) to p; whether that is a NaN, or an infinity. */
enum { FINITE, INFINITE, NOT_A_NUMBER };
static int store(int dtype, double v, u8 *p) {
    float f = (float)v;
    if (isnan(f)) return NOT_A_NUMBER;
    u32 w = dtype == F32 ? bits_f32(f) : dtype == F16 ? to_f16(f) : to_bf16(f);
    u32 top = dtype == F32 ? 0x7F800000 : dtype == F16 ? 0x7C00 : 0x7F80;
    for (int i = 0; i < dtype_bits[dtype] / 8; i++) p[i] = (u8)(w >> 8 * i);
    return (w & top) == top ? INFINITE : FINITE;
}
/* The viewed base; *owned is to be freed. */
static const u8 *view_base(const Record *r, u8 **owned) {
    const BaseTensor *b = r->base; *owned = NULL;
    if (r->view == RESHAPE) return b->data;
    u64 size = dtype_bits[b->k.dtype] / 8;
    if (r->view == SLICE) return b->data + r->first * product(b->k.dims, 1, b->k.nd) * size;
    u8 *p = *owned = take(r->common, size);
    if (r->view == ROLL) {
        u64 head = r->first * product(b->k.dims, 1, b->k.nd) * size;
        copy(p, b->data + head, b->k.bytes - head); copy(p + (b->k.bytes - head), b->data, head);
    } else if (r->view == TRANSPOSE) {
        u64 rows = b->k.dims[0], columns = b->k.dims[1];
        for (u64 j = 0; r->common && j < columns; j++)
            for (u64 i = 0; i < rows; i++, p += size) memcpy(p, b->data + (i * columns + j) * size, size);
    } else
        for (u64 i = 0; i < r->n_base; p += b[i++].k.bytes) copy(p, b[i].data, b[i].k.bytes);
    return *owned;
}
static void add(const Record *r, u64 i, const u8 *base, double d, u8 *out) {
    int bs = dtype_bits[r->base->k.dtype] / 8, os = dtype_bits[r->k.dtype] / 8;
    double b = load(r->base->k.dtype, base + i * (u64)bs);
    MUST("N2", store(r->k.dtype, b + d, out + i * (u64)os) == FINITE, "a delta gives a NaN or an infinity");
}
static void make_dense(const Record *r, const u8 *base, u8 *out) {
    u32 largest = 0; double unit = ldexp(1, r->exponent);
    for (u64 j = r->chain[ELEMENTS].head; j; j = parts[j - 1].next) {
        const Part *p = parts + j - 1; int32_t *x = take(p->count, 4); u32 one = read_row(p, 0, x);
        if (one > largest) largest = one;
        for (u64 i = 0; i < p->count; i++) add(r, p->start + i, base, x[i] * unit, out);
        free(x);
    }
    MUST("I3", largest == r->maximum, "the largest magnitude is not the maximum");
}
/* In exact integers: by T4 no sum has more than 53 bits. */
static void make_low_rank(const Record *r, const u8 *base, u8 *out) {
    u64 k = r->used_rank; int32_t *a = take(k * r->m, 4), *b = take(k * r->n, 4);
    for (u64 j = r->chain[COMPONENTS].head; j; j = parts[j - 1].next) {
        const Part *p = parts + j - 1;
        for (u64 c = p->start; c < p->start + p->count && c < k; c++) {
            MUST("I2", read_row(p, c - p->start, a + c * r->m) == r->max_a[c], "max|a| is another");
            MUST("I2", read_row(p, p->count + c - p->start, b + c * r->n) == r->max_b[c], "max|b| is another");
        }
    }
    int least = 127;
    for (u64 c = 0; c < k; c++) if (r->e[c] < least) least = r->e[c];
    double unit = ldexp(1, least); i64 *sum = take(r->n, 8);
    for (u64 i = 0; i < r->m; i++) {
        memset(sum, 0, r->n * 8);
        for (u64 c = 0; c < k; c++) {
            i64 factor = a[c * r->m + i] * ((i64)1 << (r->e[c] - least));
            for (u64 j = 0; factor && j < r->n; j++) sum[j] += factor * b[c * r->n + j];
        }
        for (u64 j = 0; j < r->n; j++) add(r, i * r->n + j, base, (double)sum[j] * unit, out);
    }
    free(sum); free(a); free(b);
}
static void copy_parts(const Chain *c, u8 *out) {
    for (u64 j = c->head; j; j = parts[j - 1].next) {
        const Part *p = parts + j - 1; copy(out + p->start, open_frame(frames + p->frame) + p->place, p->count);
    }
}
static const u8 *raw_of(u64 place, u8 **owned) {
    const Record *r = records + place - 1; *owned = take(r->k.bytes, 1); copy_parts(&r->chain[BYTES], *owned); return *owned;
}
static float f8(u32 u, int p, int q) {
    int e = (int)(u >> p & (p == 3 ? 15 : 31)), m = (int)(u & ((1U << p) - 1)); double v = ldexp(m + (e ? 1 << p : 0), (e ? e - 1 : 0) + q - p);
    if (p == 3 ? (u & 127) == 127 : e == 31) v = p == 2 && !m ? INFINITY : NAN;
    return (float)(u & 128 ? -v : v);
}
static float scale_at(int dtype, const u8 *data, u64 i) {
    if (is_delta(dtype)) return (float)load(dtype, data + i * (dtype_bits[dtype] / 8));
    if (dtype == F8_E4M3) return f8(data[i], 3, -6);
    if (dtype == F8_E5M2) return f8(data[i], 2, -14);
    return data[i] == 255 ? NAN : (float)ldexp(1, data[i] - 127);
}
/* The codes of "Quantised weights"; single operations in binary32 (FLT_EVAL_METHOD 0, no contraction). */
static u32 code_of(const Quantisation *q, float x, const float *map) {
    if (isnan(x)) x = 0;
    if (q->grid == G_MAP) {
        float y = x < map[0] ? map[0] : x > map[15] ? map[15] : x; u32 k = 0;
        for (int i = 0; i < 15; i++) { volatile float sum = map[i] + map[i + 1]; k += sum * 0.5F < y; }
        return k;
    }
    if (q->grid == G_INT8) { float y = x < -128 ? -128 : x > 127 ? 127 : x; return (u32)(int)nearbyintf(y) & 255; }
    static const int ps[] = {3, 2, 0, 1}, qs[] = {-6, -14, 0, 0}; static const float largest[] = {448, 57344, 0, 6};
    int p = ps[q->grid], least = qs[q->grid], e; float y = fabsf(x);
    if (y > largest[q->grid]) y = largest[q->grid];
    frexpf(y, &e); e--;
    if (y == 0 || e < least) e = least;
    u32 k = (u32)nearbyintf(ldexpf(y, p - e)) + ((u32)(e - least) << p);
    return k | (signbit(x) ? (q->grid == G_E2M1 ? 8U : 128U) : 0);
}
static void make_quantised(const Record *r, const u8 *base, u8 *out) {
    const Quantisation *q = &r->q; u64 across = 0; u8 *o[5] = {0}; const u8 *s = NULL, *second = NULL, *values = NULL, *scales = NULL; float map[16] = {0};
    int dtype = r->base->k.dtype, size = dtype_bits[dtype] / 8;
    if (q->values) {
        const u8 *p = raw_of(q->values, o);
        for (int i = 0; i < 16; i++) {
            map[i] = f32_of(get32(p + 4 * i)); MUST("N5", isfinite(map[i]) && (!i || map[i - 1] < map[i]), "a map does not ascend");
        }
    }
    if (q->scale) { count_scales(q, &across); s = raw_of(q->scale, o + 1); }
    if (q->second) second = raw_of(q->second, o + 2);
    if (q->nested) { values = raw_of(q->nested, o + 3); scales = raw_of(q->nested_scales, o + 4); }
    for (u64 i = 0; i < q->codes; i++) {
        volatile float v = 1, w = (float)load(dtype, base + i * (u64)size), x;
        if (s) {
            u64 row = i / q->columns / q->rows, column = i % q->columns / q->across, n = row * across + column;
            if (q->tiles) n = 512 * (row / 128 * ceiling(across, 4) + column / 4) + row % 32 * 16 + row % 128 / 32 * 4 + column % 4;
            if (q->nested) {
                v = f32_of(get32(values + 4 * s[n])) * f32_of(get32(scales + 4 * (n / q->nested_block))); v = v + q->offset;
            } else v = scale_at(records[q->scale - 1].k.dtype, s, n);
            v = v * q->unit;
            if (second) { float t = f32_of(get32(second)); v = q->second_divides ? v / t : v * t; }
            if (!(v > 0 && isfinite(v))) v = INFINITY;
        }
        if (q->multiply) { volatile float inverse = 1 / v; x = w * inverse; }
        else x = w / v;
        u32 c = code_of(q, x, map);
        if (q->grid < G_E2M1) out[i] = (u8)c;
        else if (i % 2 == 0) out[i / 2] = (u8)(q->high ? c << 4 : c);
        else out[i / 2] |= (u8)(q->high ? c : c << 4);
    }
    for (int i = 0; i < 5; i++) free(o[i]);
}
static void make_tensor(const Record *r, u8 *out) {
    u8 *owned = NULL;
    if (r->kind == CAST) {
        const Record *other = records + r->of;
        u64 from = dtype_bits[other->k.dtype] / 8, to = dtype_bits[r->k.dtype] / 8; owned = take(other->k.bytes, 1);
        make_tensor(other, owned);
        for (u64 i = 0; i < r->k.elements; i++) {
            double v = load(other->k.dtype, owned + i * from); int got = store(r->k.dtype, v, out + i * to);
            MUST("N3", got != NOT_A_NUMBER && (got == FINITE || isinf(v)), "a cast gives a NaN or an infinity");
        }
    } else if (r->kind != RAW) {
        const u8 *base = view_base(r, &owned); int dtype = r->base->k.dtype;
        if (r->kind == QUANTISED) make_quantised(r, base, out);
        else if (r->kind == LOW_RANK) make_low_rank(r, base, out);
        else if (r->kind == DENSE) make_dense(r, base, out);
        else if (dtype == r->k.dtype) copy(out, base, r->k.bytes - r->new_bytes);
        else for (u64 i = 0, from = dtype_bits[dtype] / 8, to = dtype_bits[r->k.dtype] / 8; i < r->common; i++)
            MUST("N1", store(r->k.dtype, load(dtype, base + i * from), out + i * to) != NOT_A_NUMBER, "a cast gives a NaN");
    }
    free(owned); copy_parts(&r->chain[BYTES], out + (r->k.bytes - r->chain[BYTES].total));
}

/* ---- Source headers: JSON ---- */
static int json_kind;           /* CONTAINER, or BASE for a file of the base */
static const u8 *jp, *jend;
static u8 *jtext;               /* where the strings go */
_Noreturn static void bad_json(const char *what) {
    die(json_kind, "%s: %s", json_kind == CONTAINER ? "S1" : "the base", what);
}
static int peek(void) { /* the next character that is no white space; -1 at the end */
    while (jp < jend && (*jp == ' ' || *jp == '\t' || *jp == '\n' || *jp == '\r')) jp++;
    return jp < jend ? *jp : -1;
}
static void want(int c) { BAD_JSON_IF(peek() != c, "a source header is no JSON of the right form"); jp++; }
static u32 hex4(void) {
    static const char digits[] = "0123456789abcdefABCDEF";
    u32 v = 0;
    for (int i = 0; i < 4; i++) {
        const char *d = jp < jend && *jp ? strchr(digits, *jp++) : NULL; BAD_JSON_IF(!d, "a wrong escape");
        v = v * 16 + (u32)(d - digits) - (d - digits > 15 ? 6 : 0);
    }
    return v;
}
static void put_utf8(u32 v) {
    int behind = v < 0x80 ? 0 : v < 0x800 ? 1 : v < 0x10000 ? 2 : 3;
    *jtext++ = (u8)(behind ? (0xFF00 >> (behind + 1) & 0xFF) | v >> 6 * behind : v);
    while (behind--) *jtext++ = (u8)(0x80 | (v >> 6 * behind & 63));
}
static Str json_string(void) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    want('"'); Str s = {jtext, 0};
    for (;;) {
        BAD_JSON_IF(jp == jend || *jp < 32, "a string has no end, or a control character"); u8 c = *jp++;
        if (c == '"') break;
        if (c != '\\') { *jtext++ = c; continue; }
        BAD_JSON_IF(jp == jend, "a wrong escape"); c = *jp++;
        if (c != 'u') {
            const char *found = c ? strchr(from, c) : NULL; BAD_JSON_IF(!found, "a wrong escape");
            *jtext++ = (u8)to[found - from]; continue;
        }
        u32 v = hex4();
        if (v >= 0xD800 && v < 0xE000) {
            BAD_JSON_IF(v >= 0xDC00 || jend - jp < 2 || jp[0] != '\\' || jp[1] != 'u', "half of a surrogate pair");
            jp += 2; u32 low = hex4(); BAD_JSON_IF(low < 0xDC00 || low >= 0xE000, "half of a surrogate pair");
            v = 0x10000 + ((v - 0xD800) << 10) + (low - 0xDC00);
        }
        put_utf8(v);
    }
    s.n = (u64)(jtext - s.p); return s;
}
static u64 json_number(void) {
    int c = peek(); BAD_JSON_IF(c < '0' || c > '9', "an integer was expected"); const u8 *from = jp; u64 v = 0;
    while (jp < jend && *jp >= '0' && *jp <= '9') {
        v = v * 10 + (u64)(*jp++ - '0'); BAD_JSON_IF(v > UINT_MAX53, "an integer is too large");
    }
    BAD_JSON_IF(*from == '0' && jp - from > 1, "a needless zero"); return v;
}
/* After an entry of an object or array: whether another one comes. */
static int more(int close) {
    if (peek() == ',') { jp++; return 1; }
    want(close); return 0;
}
static int empty(int open, int close) {
    want(open);
    if (peek() != close) return 0;
    jp++; return 1;
}
static void json_entry(Entry *e) {
    int seen = 0; want('{');
    do {
        Str key = json_string(); want(':');
        int which = is(key, "dtype") ? 1 : is(key, "shape") ? 2 : is(key, "data_offsets") ? 4 : 0;
        BAD_JSON_IF(!which || seen & which, "a field of an entry is not known, or stands twice"); seen |= which;
        if (which == 1) {
            Str s = json_string();
            for (e->k.dtype = 0; e->k.dtype < DTYPES && !is(s, dtype_names[e->k.dtype]);) e->k.dtype++;
            BAD_JSON_IF(e->k.dtype == DTYPES, "a dtype is not known");
        } else if (which == 2) {
            u64 dims[32];
            if (!empty('[', ']'))
                do {
                    BAD_JSON_IF(e->k.nd == 32, "too many dimensions"); dims[e->k.nd++] = json_number();
                } while (more(']'));
            e->k.dims = take((u64)e->k.nd, 8); copy((u8 *)e->k.dims, (const u8 *)dims, 8 * (u64)e->k.nd);
        } else { want('['); e->begin = json_number(); want(','); e->end = json_number(); want(']'); }
    } while (more('}'));
    BAD_JSON_IF(seen != 7, "an entry lacks a field"); BAD_JSON_IF(size_up(&e->k), "a shape is not allowed");
    BAD_JSON_IF(e->begin > e->end || e->end - e->begin != e->k.bytes, "data_offsets are not of the tensor's size");
}
/* Of a Str, or what begins with one. */
static int by_string(const void *a, const void *b) { return compare(*(const Str *)a, *(const Str *)b); }
static int by_place(const void *a, const void *b) {
    const Entry *x = *(const Entry *const *)a, *y = *(const Entry *const *)b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}
static void no_key_twice(Str *keys, u64 n) {
    qsort(keys, n, sizeof *keys, by_string);
    for (u64 i = 1; i < n; i++) if (!compare(keys[i - 1], keys[i])) bad_json("a key stands twice");
    free(keys);
}
static u64 count_marks(const u8 *p, u64 n) { /* S3 */
    u64 count = 0; int inside = 0;
    for (u64 i = 0; i < n; i++) {
        if (p[i] == '"') inside = !inside;
        else if (inside && p[i] == '\\') i++;
        else if (!inside && (p[i] == '[' || p[i] == '{' || p[i] == ',')) count++;
    }
    return count;
}
/* S1, for source headers and for the files of the base. */
static Source *read_source(const u8 *p, u64 n, int kind) {
    json_kind = kind; BAD_JSON_IF(!is_utf8(p, n), "a source header is not UTF-8"); Source *s = take(1, sizeof *s);
    u64 room = 1 + count_marks(p, n), meta_seen = 0;    /* more than there are entries or pairs of metadata */
    s->p = p; s->n = n; s->entry = take(room, sizeof *s->entry); s->pair = take(room, sizeof *s->pair);
    jtext = take(n, 1); jp = p; jend = p + n;
    if (!empty('{', '}'))
        do {
            Str key = json_string(); want(':');
            if (is(key, "__metadata__")) {
                BAD_JSON_IF(meta_seen++, "a key stands twice");
                if (peek() == 'n') {
                    BAD_JSON_IF(jend - jp < 4 || memcmp(jp, "null", 4), "metadata is no object"); jp += 4;
                } else if (!empty('{', '}'))
                    do {
                        Pair *pair = s->pair + s->pairs++; pair->key = json_string(); want(':');
                        pair->value = json_string();
                    } while (more('}'));
                continue;
            }
            BAD_JSON_IF(!key.n || key.n > 4096 || name_is_bad(key), "a name is not allowed");
            Entry *e = s->entry + s->entries++; e->name = key; json_entry(e);
        } while (more('}'));
    BAD_JSON_IF(peek() >= 0, "something follows the object");
    Str *names = take(s->entries, sizeof *names), *keys = take(s->pairs, sizeof *keys);
    Entry **order = take(s->entries, sizeof *order);
    for (u64 i = 0; i < s->entries; i++) names[i] = s->entry[i].name, order[i] = s->entry + i;
    for (u64 i = 0; i < s->pairs; i++) keys[i] = s->pair[i].key;
    no_key_twice(names, s->entries); no_key_twice(keys, s->pairs); qsort(order, s->entries, sizeof *order, by_place);
    for (u64 i = 0; i < s->entries; i++) {
        BAD_JSON_IF(order[i]->begin != s->size, "the tensors leave a gap, or overlap"); s->size = order[i]->end;
    }
    free(order); return s;
}

/* ---- Result files ---- */
static int by_name(const void *a, const void *b) {
    return compare(((const Record *)a)->name, ((const Record *)b)->name);
}
static int lossy(const Record *r) {
    if (r->kind == CAST) r = records + r->of;
    return r->kind == LOW_RANK || r->kind == DENSE || r->kind == QUANTISED;
}
/* The tensors of a result: S2 and D4. */
static void match_source(Result *r, Source *s) {
    u8 *whole = take(r->prefix.n + 4096, 1); copy(whole, r->prefix.p, r->prefix.n); r->source = s; r->entry = s->entry;
    r->entries = s->entries; r->data = s->size; r->kept = 1;
    for (u64 i = 0; i < s->entries; i++) {
        Entry *e = s->entry + i; copy(whole + r->prefix.n, e->name.p, e->name.n);
        Record key = {.name = {whole, r->prefix.n + e->name.n}};
        Record *found = bsearch(&key, records, n_records, sizeof *records, by_name);
        if (!found || found->used++ || !same_kind(&found->k, &e->k))
            die(CONTAINER, "%s: no record has a tensor of a source header so, or it comes twice", n_files ? "D4" : "S2");
        e->record = (u64)(found - records);
        if (lossy(found)) r->kept = 0;
    }
    free(whole);
}
/* Without a source header: by bits per element, then by name. */
static void lay_out(Result *r) {
    static const u8 widths[] = {64, 32, 16, 8, 6, 4};
    r->entry = take(n_records, sizeof *r->entry);
    for (int w = 0; w < 6; w++)
        for (u64 i = 0; i < n_records; i++) {
            if (dtype_bits[records[i].k.dtype] != widths[w]) continue;
            Entry *e = r->entry + r->entries++; e->name = records[i].name; e->k = records[i].k; e->record = i;
            e->begin = r->data; r->data = e->end = r->data + e->k.bytes;
            MUST("X1", r->data <= UINT_MAX53, "the result is larger than was recorded"); records[i].used = 1;
        }
}
static void put_string(Buf *b, Str s) {
    static const char from[] = "\"\\\b\t\n\f\r", to[] = "\"\\btnfr";
    putf(b, "\"");
    for (u64 i = 0; i < s.n; i++) {
        const char *found = s.p[i] ? strchr(from, s.p[i]) : NULL;
        if (found) putf(b, "\\%c", to[found - from]);
        else if (s.p[i] < 32) putf(b, "\\u%04x", s.p[i]);
        else put(b, s.p + i, 1);
    }
    putf(b, "\"");
}
static void put_digest(Buf *b, const char *key, const u8 *digest) {
    putf(b, "\"%s\":\"", key);
    for (int i = 0; i < 32; i++) putf(b, "%02x", digest[i]);
    putf(b, "\",");
}
static int is_dropped(Str key) {
    return is(key, "modelspec.hash_sha256") || is(key, "sshs_model_hash") || is(key, "sshs_legacy_hash")
        || (key.n >= 5 && !memcmp(key.p, "dsvd.", 5));
}
/* All of a result before its data, at x millionths. */
static Buf make_header(const Result *r, u64 x) {
    Buf b = {0}; put(&b, "\0\0\0\0\0\0\0\0", 8);
    if (r->kept) put(&b, r->source->p, r->source->n);
    else {
        putf(&b, "{\"__metadata__\":{");
        for (u64 i = 0; r->source && i < r->source->pairs; i++) {
            Pair *pair = r->source->pair + i;
            if (is_dropped(pair->key)) continue;
            put_string(&b, pair->key); putf(&b, ":"); put_string(&b, pair->value); putf(&b, ",");
        }
        char decimal[16]; int n = snprintf(decimal, sizeof decimal, "%d.%06d", (int)(x / 1000000), (int)(x % 1000000));
        while (decimal[n - 1] == '0') n--;
        if (decimal[n - 1] == '.') n--;
        put_digest(&b, "dsvd.base", base_digest); put_digest(&b, "dsvd.container", content_digest);
        putf(&b, "\"dsvd.tau\":\"%.*s\"%s}", n, decimal, r->source ? "" : ",\"format\":\"pt\"");
        for (u64 i = 0; i < r->entries; i++) {
            Entry *e = r->entry + i; putf(&b, ","); put_string(&b, e->name);
            putf(&b, ":{\"dtype\":\"%s\",\"shape\":[", dtype_names[e->k.dtype]);
            for (int j = 0; j < e->k.nd; j++) putf(&b, j ? ",%llu" : "%llu", (unsigned long long)e->k.dims[j]);
            putf(&b, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)e->begin, (unsigned long long)e->end);
        }
        putf(&b, "}");
        while (b.n % 8) putf(&b, " ");
    }
    for (int i = 0; i < 8; i++) b.p[i] = (u8)((b.n - 8) >> 8 * i);
    return b;
}
/* Step 6. */
static void plan_results(void) {
    u64 marks = 0, most = 1 << 14, which = 0;
    for (u64 i = 0; i < n_records; i++) most += 8 + (u64)records[i].k.nd;
    for (u64 i = 0; i < n_frames; i++)
        if (frames[i].content == SOURCE_HEADER) marks += count_marks(open_frame(frames + i), frames[i].raw);
    MUST("S3", marks <= most, "the source headers have too many values");
    for (u64 i = 0; i < n_frames; i++)
        if (frames[i].content == SOURCE_HEADER)
            match_source(results + which++, read_source(frames[i].data, frames[i].raw, CONTAINER));
    if (!which) lay_out(results);
    for (u64 i = 0; i < n_records; i++)
        DIE_IF(!records[i].used, CONTAINER, "%s: no source header names a record", n_files ? "D4" : "S2");
    for (u64 i = 0; i < n_results; i++) {
        Result *r = results + i; Buf header = make_header(r, tau);
        MUST("X1", header.n + r->data == r->size, "the result has another size than was recorded"); free(header.p);
        if (!n_files && r->kept)
            MUST("X2", r->size == source_size && !memcmp(r->digest, source_digest, 32), "the result is not the source");
    }
}

/* ---- The base ---- */
typedef struct { int dtype; u8 digest[32]; const u8 *p; u64 n; } Held;
static Held *held;              /* tensors of the base; of other files (dtype -1) only a folder has some */
static u64 n_held, room_held;
static void hold(int dtype, const u8 *p, u64 n) {
    if (n_held == room_held) {
        room_held = 2 * room_held + 64; held = realloc(held, room_held * sizeof *held);
        DIE_IF(!held, TROUBLE, "out of memory");
    }
    Held *h = held + n_held++; h->dtype = dtype; h->p = p; h->n = n; sha256(p, n, h->digest);
}
static int by_content(const void *a, const void *b) {
    const Held *x = a, *y = b; int c = memcmp(x->digest, y->digest, 32);
    return c ? c : (x->dtype > y->dtype) - (x->dtype < y->dtype);
}
static u8 *read_file(const char *path, u64 *size) {
    struct stat st; int fd = open(path, O_RDONLY);
    DIE_IF(fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode), TROUBLE, "%s: cannot be read", path);
    u8 *p = take((u64)st.st_size, 1);
    for (*size = 0; *size < (u64)st.st_size;) {
        ssize_t n = read(fd, p + *size, (u64)st.st_size - *size); DIE_IF(n <= 0, TROUBLE, "%s: cannot be read", path);
        *size += (u64)n;
    }
    close(fd); return p;
}
static void hold_tensors(const char *path) {
    u64 n, length; const u8 *p = read_file(path, &n);
    DIE_IF(n < 8 || (length = get64(p)) > n - 8, BASE, "the base: %s is no safetensors file", path);
    Source *s = read_source(p + 8, length, BASE);
    DIE_IF(s->size != n - 8 - length, BASE, "the base: %s is cut, or has something behind its tensors", path);
    for (u64 i = 0; i < s->entries; i++) hold(s->entry[i].k.dtype, p + 8 + length + s->entry[i].begin, s->entry[i].k.bytes);
}
static char *join(const char *folder, const char *name) {
    char *s = take(strlen(folder) + strlen(name) + 2, 1); return strcat(strcat(strcpy(s, folder), "/"), name);
}
static void hold_folder(const char *path, int depth) {
    DIR *d = depth < 64 ? opendir(path) : NULL; DIE_IF(!d, TROUBLE, "%s: cannot be read", path);
    for (struct dirent *e; (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        char *whole = join(path, e->d_name); size_t n = strlen(whole); struct stat st;
        if (stat(whole, &st)) continue;
        if (S_ISDIR(st.st_mode)) hold_folder(whole, depth + 1);
        else if (S_ISREG(st.st_mode)) {
            if (n > 12 && !strcmp(whole + n - 12, ".safetensors")) hold_tensors(whole);
            else { u64 size; const u8 *p = read_file(whole, &size); hold(-1, p, size); }
        }
        free(whole);
    }
    closedir(d);
}
static const Held *find_held(int dtype, const u8 *digest) {
    Held key = {.dtype = dtype}; memcpy(key.digest, digest, 32);
    return n_held ? bsearch(&key, held, n_held, sizeof *held, by_content) : NULL;
}
/* Step 7: B1, B2, D6, D7. */
static void find_base(const char *path) {
    struct stat st; DIE_IF(stat(path, &st), TROUBLE, "%s: cannot be read", path);
    if (S_ISDIR(st.st_mode)) hold_folder(path, 0);
    else hold_tensors(path);
    if (n_held) qsort(held, n_held, sizeof *held, by_content);
    for (u64 i = 0; i < n_records; i++)
        for (u64 j = 0; j < records[i].n_base; j++) {
            BaseTensor *b = records[i].base + j; const Held *h = find_held(b->k.dtype, b->digest);
            DIE_IF(!h, BASE, "B1: the base lacks a tensor of record %llu", (unsigned long long)i);
            MUST("B2", h->n == b->k.bytes, "a base tensor has another size than is told"); b->data = h->p;
        }
    for (u64 i = 0; i < n_files; i++) {
        if (files[i].kind != OF_BASE) continue;
        const Held *h = find_held(-1, files[i].digest);
        DIE_IF(!h, BASE, "D6: the base lacks a file, %llu of the tree", (unsigned long long)i);
        MUST("D7", h->n == files[i].size, "a file of the base has another size than is told"); files[i].data = h->p;
    }
}

/* ---- Writing ---- */
static char *remember(const char *path) {
    if (n_made == room_made) {
        room_made = 2 * room_made + 64; made = realloc(made, room_made * sizeof *made);
        if (!made) { remove(path); exit(TROUBLE); }
    }
    char *s = take(strlen(path) + 1, 1); return made[n_made++] = strcpy(s, path);
}
static void make_folder(const char *path) {
    DIE_IF(mkdir(path, 0777), TROUBLE, "%s: %s", path, strerror(errno)); remember(path);
}
static void write_file(const char *path, const u8 *p, u64 n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666); DIE_IF(fd < 0, TROUBLE, "%s: %s", path, strerror(errno));
    remember(path);
    while (n) {
        ssize_t done = write(fd, p, n); DIE_IF(done <= 0, TROUBLE, "%s: %s", path, strerror(errno)); p += done;
        n -= (u64)done;
    }
    DIE_IF(close(fd), TROUBLE, "%s: %s", path, strerror(errno));
}
/* A file of a tree, below the folder that is made; or the only file, as that. */
static void give(const char *top, Str path, const u8 *p, u64 n) {
    if (!path.n) { write_file(top, p, n); return; }
    char *name = take(path.n + 1, 1); memcpy(name, path.p, path.n); char *whole = join(top, name);
    for (char *s = whole + strlen(top) + 1; (s = strchr(s, '/')); *s++ = '/') {
        struct stat st; *s = 0;
        if (stat(whole, &st)) make_folder(whole);
    }
    write_file(whole, p, n); free(whole); free(name);
}
/* Steps 9 to 11. */
static void write_all(const char *output, u64 x) {
    char *top = take(strlen(output) + 40, 1); sprintf(top, "%s.dsvd-tmp-%ld", output, (long)getpid());
    if (n_files) make_folder(top);
    for (u64 i = 0; i < n_files; i++) {
        File *f = files + i;
        if (f->kind == TENSORS) continue;
        u8 *owned = NULL;
        if (f->kind == STORED) {
            f->data = owned = take(f->size, 1); copy_parts(&f->chain, owned);
            MUST("D5", has_sha256(owned, f->size, f->digest), "a stored file has another SHA-256");
        }
        give(top, f->path, f->data, f->size); free(owned);
    }
    for (u64 i = 0; i < n_results; i++) {
        const Result *r = results + i; Buf header = make_header(r, x); u64 size = header.n + r->data;
        u8 *p = take(size, 1); memcpy(p, header.p, header.n);
        for (u64 j = 0; j < r->entries; j++) make_tensor(records + r->entry[j].record, p + header.n + r->entry[j].begin);
        DIE_IF(x == tau && !has_sha256(p, size, r->digest), RESULT, "X3: a result has another SHA-256 than was recorded");
        give(top, r->path, p, size); free(p); free(header.p);
    }
    DIE_IF(rename(top, output), TROUBLE, "%s: %s", output, strerror(errno)); n_made = 0;
}
static u64 parse_tau(const char *s) { /* in millionths; 0 if it is none */
    u64 v = 0;
    int digits = -1, any = 0;           /* behind the point */
    for (; *s; s++) {
        if (*s == '.' && digits < 0) { digits = 0; continue; }
        if (*s < '0' || *s > '9' || v > 1000000) return 0;
        if (digits == 6) { if (*s != '0') return 0; continue; }
        v = v * 10 + (u64)(*s - '0'); any = 1;
        if (digits >= 0) digits++;
    }
    for (int i = digits < 0 ? 0 : digits; i < 6; i++) v *= 10;
    return any ? v : 0;
}
int main(int argc, char **argv) {
    DIE_IF(argc != 4 && argc != 5, TROUBLE, "usage: reader CONTAINER BASE OUTPUT [TAU]");
    u64 x = argc == 5 ? parse_tau(argv[4]) : 0; DIE_IF(argc == 5 && !x, TROUBLE, "%s: no tau", argv[4]);
    for (size_t n = strlen(argv[3]); n > 1 && argv[3][n - 1] == '/';) argv[3][--n] = 0;
    file = read_file(argv[1], &F); read_container();
    if (!x) x = tau;
    read_tables(x); plan_results(); find_base(argv[2]); write_all(argv[3], x); return 0;
}
