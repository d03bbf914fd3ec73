// What CUDA C++ has and C++ has not, as far as the kernels use it.
//
// The compiler includes this file before each kernel file. A block's threads are fibers that run
// one at a time: each runs until it waits for others, which is what a GPU promises and no more.
// Atomics are plain operations therefore. No standard header is included, so that a kernel that
// needs one does not compile here either.
#pragma once

using size_t = decltype(sizeof(0));
extern "C" void *memcpy(void *, const void *, size_t);
extern "C" void *memset(void *, int, size_t);

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
// All shared variables lie in one section of their own, which is filled with garbage before each
// block.
#define __shared__ static __attribute__((section("shim_shared")))

struct uchar2 { unsigned char x, y; } __align__(2);
struct uchar3 { unsigned char x, y, z; };
struct uchar4 { unsigned char x, y, z, w; } __align__(4);
struct ushort2 { unsigned short x, y; } __align__(4);
struct ushort4 { unsigned short x, y, z, w; } __align__(8);
struct int2 { int x, y; } __align__(8);
struct int3 { int x, y, z; };
struct int4 { int x, y, z, w; } __align__(16);
struct uint2 { unsigned x, y; } __align__(8);
struct uint3 { unsigned x, y, z; };
struct uint4 { unsigned x, y, z, w; } __align__(16);
struct longlong2 { long long x, y; } __align__(16);
struct ulonglong2 { unsigned long long x, y; } __align__(16);
struct dim3 { unsigned x, y, z; };

#define SHIM_MAKE_2(T, E) inline T make_##T(E x, E y) { return {x, y}; }
#define SHIM_MAKE_3(T, E) inline T make_##T(E x, E y, E z) { return {x, y, z}; }
#define SHIM_MAKE_4(T, E) inline T make_##T(E x, E y, E z, E w) { return {x, y, z, w}; }
SHIM_MAKE_2(uchar2, unsigned char)
SHIM_MAKE_3(uchar3, unsigned char)
SHIM_MAKE_4(uchar4, unsigned char)
SHIM_MAKE_2(ushort2, unsigned short)
SHIM_MAKE_4(ushort4, unsigned short)
SHIM_MAKE_2(int2, int)
SHIM_MAKE_3(int3, int)
SHIM_MAKE_4(int4, int)
SHIM_MAKE_2(uint2, unsigned)
SHIM_MAKE_3(uint3, unsigned)
SHIM_MAKE_4(uint4, unsigned)
SHIM_MAKE_2(longlong2, long long)
SHIM_MAKE_2(ulonglong2, unsigned long long)
#undef SHIM_MAKE_2
#undef SHIM_MAKE_3
#undef SHIM_MAKE_4

// The thread that runs; the scheduler in shim.cpp sets them.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// --- Barriers, votes and shuffles -------------------------------------------------------------

namespace shim {

// Where in the source a thread waits, for messages.
struct Site {
    const char *file;
    int line;
};

enum class Op : int {
    // Of a block.
    Barrier,
    BarrierOr,
    BarrierAnd,
    BarrierCount,
    // Of a warp.
    Sync,
    Ballot,
    Any,
    All,
    MatchAny,
    Shuffle,
    ShuffleUp,
    ShuffleDown,
    ShuffleXor,
};

// Ends the launch with an error.
[[noreturn]] void misuse(const char *what);
// Waits for the block's threads and gives what the operation gives this thread.
unsigned block_op(Op op, unsigned value, Site site);
// Waits for the lanes of `mask`. `lane` and `width` are those of a shuffle, `bytes` the size of its
// value.
unsigned long long warp_op(Op op, unsigned mask, unsigned long long value, unsigned lane, int width,
                           int bytes, Site site);

template <typename T>
inline T shuffle(Op op, unsigned mask, T value, unsigned lane, int width, Site site) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 32 or 64 bits");
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof(T));
    bits = warp_op(op, mask, bits, lane, width, sizeof(T), site);
    memcpy(&value, &bits, sizeof(T));
    return value;
}

}  // namespace shim

#define SHIM_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define SHIM_HERE (shim::Site{file, line})

inline void __syncthreads(SHIM_SITE) { shim::block_op(shim::Op::Barrier, 0, SHIM_HERE); }
inline int __syncthreads_or(int predicate, SHIM_SITE) {
    return shim::block_op(shim::Op::BarrierOr, predicate != 0, SHIM_HERE);
}
inline int __syncthreads_and(int predicate, SHIM_SITE) {
    return shim::block_op(shim::Op::BarrierAnd, predicate != 0, SHIM_HERE);
}
inline int __syncthreads_count(int predicate, SHIM_SITE) {
    return shim::block_op(shim::Op::BarrierCount, predicate != 0, SHIM_HERE);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SHIM_SITE) {
    shim::warp_op(shim::Op::Sync, mask, 0, 0, warpSize, 0, SHIM_HERE);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, SHIM_SITE) {
    return shim::warp_op(shim::Op::Ballot, mask, predicate != 0, 0, warpSize, 0, SHIM_HERE);
}
inline int __any_sync(unsigned mask, int predicate, SHIM_SITE) {
    return shim::warp_op(shim::Op::Any, mask, predicate != 0, 0, warpSize, 0, SHIM_HERE);
}
inline int __all_sync(unsigned mask, int predicate, SHIM_SITE) {
    return shim::warp_op(shim::Op::All, mask, predicate != 0, 0, warpSize, 0, SHIM_HERE);
}
template <typename T>
inline unsigned __match_any_sync(unsigned mask, T value, SHIM_SITE) {
    return shim::warp_op(shim::Op::MatchAny, mask, value, 0, warpSize, sizeof(T), SHIM_HERE);
}
template <typename T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize, SHIM_SITE) {
    return shim::shuffle(shim::Op::Shuffle, mask, value, lane, width, SHIM_HERE);
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = warpSize, SHIM_SITE) {
    return shim::shuffle(shim::Op::ShuffleUp, mask, value, by, width, SHIM_HERE);
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = warpSize, SHIM_SITE) {
    return shim::shuffle(shim::Op::ShuffleDown, mask, value, by, width, SHIM_HERE);
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = warpSize, SHIM_SITE) {
    return shim::shuffle(shim::Op::ShuffleXor, mask, value, with, width, SHIM_HERE);
}
#undef SHIM_SITE
#undef SHIM_HERE

inline void __threadfence() {}
inline void __threadfence_block() {}

// --- Integer intrinsics -----------------------------------------------------------------------

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) {
    return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int bit = 0; bit < 32; ++bit) reversed |= ((x >> bit) & 1u) << (31 - bit);
    return reversed;
}
inline unsigned long long __brevll(unsigned long long x) {
    return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 |
                  __brev(static_cast<unsigned>(x >> 32));
}
// The upper, or lower, word of high:low shifted; the shift is taken modulo 32.
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<unsigned>(both << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<unsigned>(both >> (shift & 31));
}
// As above, but the shift is at most 32.
inline unsigned __funnelshift_lc(unsigned low, unsigned high, unsigned shift) {
    return shift >= 32 ? low : __funnelshift_l(low, high, shift);
}
inline unsigned __funnelshift_rc(unsigned low, unsigned high, unsigned shift) {
    return shift >= 32 ? high : __funnelshift_r(low, high, shift);
}
// Each nibble of `selector` picks one of eight bytes. What one above 7 does is not documented.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    unsigned long long bytes = static_cast<unsigned long long>(y) << 32 | x;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i) {
        unsigned nibble = (selector >> (4 * i)) & 15;
        if (nibble > 7) shim::misuse("__byte_perm with a selector above 7");
        result |= (static_cast<unsigned>(bytes >> (8 * nibble)) & 0xff) << (8 * i);
    }
    return result;
}
inline unsigned __umulhi(unsigned x, unsigned y) {
    return static_cast<unsigned>((static_cast<unsigned long long>(x) * y) >> 32);
}
inline int __mulhi(int x, int y) { return static_cast<int>((static_cast<long long>(x) * y) >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(x) * y) >> 64);
}
inline long long __mul64hi(long long x, long long y) {
    return static_cast<long long>((static_cast<__int128>(x) * y) >> 64);
}

template <typename T> inline T __ldg(const T *from) { return *from; }
template <typename T> inline T __ldcg(const T *from) { return *from; }
template <typename T> inline T __ldcs(const T *from) { return *from; }
template <typename T> inline void __stcg(T *to, T value) { *to = value; }
template <typename T> inline void __stcs(T *to, T value) { *to = value; }

// --- Atomics: they give the value before ------------------------------------------------------

#define SHIM_ATOMIC(NAME, T, NEW) \
    inline T NAME(T *address, T value) { \
        T old = *address; \
        *address = static_cast<T>(NEW); \
        return old; \
    }
#define SHIM_ATOMICS(T) \
    SHIM_ATOMIC(atomicMax, T, old > value ? old : value) \
    SHIM_ATOMIC(atomicMin, T, old < value ? old : value) \
    SHIM_ATOMIC(atomicOr, T, old | value) \
    SHIM_ATOMIC(atomicAnd, T, old &value) \
    SHIM_ATOMIC(atomicXor, T, old ^ value) \
    SHIM_ATOMIC(atomicExch, T, value) \
    inline T atomicCAS(T *address, T expected, T value) { \
        T old = *address; \
        if (old == expected) *address = value; \
        return old; \
    }
SHIM_ATOMICS(int)
SHIM_ATOMICS(unsigned)
SHIM_ATOMICS(unsigned long long)
SHIM_ATOMIC(atomicAdd, unsigned, old + value)
SHIM_ATOMIC(atomicAdd, unsigned long long, old + value)
// Atomics on int wrap.
SHIM_ATOMIC(atomicAdd, int, static_cast<unsigned>(old) + static_cast<unsigned>(value))
#undef SHIM_ATOMICS
#undef SHIM_ATOMIC

// --- min, max and abs, with CUDA's overloads --------------------------------------------------

#define SHIM_LEAST(R, A, B) \
    inline R min(A a, B b) { \
        const R left = static_cast<R>(a), right = static_cast<R>(b); \
        return left < right ? left : right; \
    } \
    inline R max(A a, B b) { \
        const R left = static_cast<R>(a), right = static_cast<R>(b); \
        return left > right ? left : right; \
    }
SHIM_LEAST(int, int, int)
SHIM_LEAST(unsigned, unsigned, unsigned)
SHIM_LEAST(unsigned, int, unsigned)
SHIM_LEAST(unsigned, unsigned, int)
SHIM_LEAST(long, long, long)
SHIM_LEAST(unsigned long, unsigned long, unsigned long)
SHIM_LEAST(unsigned long, long, unsigned long)
SHIM_LEAST(unsigned long, unsigned long, long)
SHIM_LEAST(long long, long long, long long)
SHIM_LEAST(unsigned long long, unsigned long long, unsigned long long)
SHIM_LEAST(unsigned long long, long long, unsigned long long)
SHIM_LEAST(unsigned long long, unsigned long long, long long)
#undef SHIM_LEAST
inline int abs(int x) { return x < 0 ? -x : x; }
inline long long abs(long long x) { return x < 0 ? -x : x; }
inline long long llabs(long long x) { return x < 0 ? -x : x; }

// --- How the scheduler finds the kernels ------------------------------------------------------

namespace shim {

struct Kernel {
    const char *name;
    // Runs one thread of it.
    void (*run)(const void *parameters);
    size_t parameter_bytes;
    unsigned most_threads;
};

struct LayoutEntry {
    const char *name;
    size_t value;
};

// The parameters of a kernel, and a function that takes them by their address.
template <auto kernel> struct Entry;
template <typename P, void (*kernel)(P)> struct Entry<kernel> {
    static constexpr size_t bytes = sizeof(P);
    static void run(const void *parameters) { kernel(*static_cast<const P *>(parameters)); }
};

// What a kernel's __launch_bounds__ allow; 1024 threads where there are none.
constexpr unsigned bounds(unsigned threads = 1024, unsigned = 0, unsigned = 0) { return threads; }

}  // namespace shim
