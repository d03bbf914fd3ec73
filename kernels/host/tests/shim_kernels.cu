// Small kernels that test the shim: what works on a GPU works here, and what does not is an error.

struct ShimTestParameters {
    unsigned long long out;
    unsigned value;
    unsigned padding;
};

__device__ static unsigned *output(const ShimTestParameters &parameters) {
    return reinterpret_cast<unsigned *>(parameters.out);
}

// Sums 0..n by halves in shared memory: a barrier a step.
extern "C" __global__ void __launch_bounds__(1024)
        shim_test_reduce(const ShimTestParameters parameters) {
    __shared__ unsigned sums[1024];
    unsigned thread = threadIdx.x;
    sums[thread] = blockIdx.x * blockDim.x + thread;
    __syncthreads();
    unsigned count = blockDim.x;
    while (count > 1) {
        unsigned middle = (count + 1) / 2;
        if (thread + middle < count) sums[thread] += sums[thread + middle];
        count = middle;
        __syncthreads();
    }
    if (thread == 0) output(parameters)[blockIdx.x] = sums[0];
}

// Each vote and shuffle once; 16 words a thread.
extern "C" __global__ void shim_test_warp(const ShimTestParameters parameters) {
    const unsigned all = 0xffffffffu;
    unsigned thread = threadIdx.x;
    unsigned lane = thread & 31;
    unsigned *out = output(parameters) + 16 * thread;
    out[0] = __ballot_sync(all, thread % 3 == 0);
    out[1] = __any_sync(all, thread == 40);
    out[2] = __all_sync(all, thread >= 32);
    out[3] = __shfl_sync(all, thread, 5);
    out[4] = __shfl_up_sync(all, thread, 3);
    out[5] = __shfl_down_sync(all, thread, 3);
    out[6] = __shfl_xor_sync(all, thread, 9);
    out[7] = __shfl_down_sync(all, thread, 3, 8);
    out[8] = static_cast<unsigned>(__shfl_sync(all, (unsigned long long)thread << 32, 7) >> 32);
    // Halves of a warp that go different ways.
    if (lane < 16) {
        out[9] = __ballot_sync(0x0000ffffu, lane & 1);
    } else {
        out[9] = __ballot_sync(0xffff0000u, lane < 20);
        __syncwarp(0xffff0000u);
    }
    out[10] = __shfl_sync(all, thread, (int)lane + 1, 4);
    out[11] = __syncthreads_count(thread % 5 == 0);
    out[12] = __syncthreads_or(thread == 63);
    out[13] = __syncthreads_and(thread < 63);
    out[14] = __match_any_sync(all, thread / 7);
    out[15] = 0;
}

// Half of the threads leave before the barrier.
extern "C" __global__ void shim_test_early_exit(const ShimTestParameters parameters) {
    __shared__ unsigned count;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    if (threadIdx.x % 2 == 1) return;
    atomicAdd(&count, 1u);
    __syncthreads();
    if (threadIdx.x == 0) output(parameters)[blockIdx.x] = count;
}

// In which order blocks and threads came.
extern "C" __global__ void shim_test_order(const ShimTestParameters parameters) {
    unsigned *out = output(parameters);
    out[1 + atomicAdd(&out[0], 1u)] = blockIdx.x * blockDim.x + threadIdx.x;
}

// What was in shared memory that nobody wrote.
extern "C" __global__ void shim_test_uninitialised(const ShimTestParameters parameters) {
    __shared__ unsigned never[32];
    output(parameters)[blockIdx.x * 32 + threadIdx.x] = *(volatile unsigned *)&never[threadIdx.x];
}

// A neighbour's word without a barrier between.
extern "C" __global__ void shim_test_race(const ShimTestParameters parameters) {
    __shared__ unsigned words[1024];
    words[threadIdx.x] = threadIdx.x;
    if (parameters.value != 0) __syncthreads();
    unsigned neighbour = threadIdx.x + 1 < blockDim.x ? threadIdx.x + 1 : 0;
    output(parameters)[threadIdx.x] = *(volatile unsigned *)&words[neighbour];
}

// Errors, by `value`.
extern "C" __global__ void shim_test_errors(const ShimTestParameters parameters) {
    __shared__ unsigned word;
    unsigned lane = threadIdx.x & 31;
    unsigned result = 0;
    switch (parameters.value) {
        case 0:  // A lane that the mask leaves out.
            result = __ballot_sync(0x0000ffffu, 1);
            break;
        case 1:  // A lane of the mask that has left the kernel.
            if (lane == 7) return;
            result = __ballot_sync(0xffffffffu, 1);
            break;
        case 2:  // A lane of the mask that waits elsewhere.
            if (lane == 7) {
                __syncthreads();
            } else {
                result = __any_sync(0xffffffffu, 1);
            }
            break;
        case 3:  // A shuffle from a lane that is not there.
            if (lane < 16) result = __shfl_sync(0x0000ffffu, lane, 20);
            break;
        case 4:  // Two barriers.
            if (threadIdx.x < 32) {
                __syncthreads();
            } else {
                __syncthreads();
            }
            break;
        case 5:  // One barrier in one branch, and a vote of all in the other.
            if (threadIdx.x == 0) {
                result = __ballot_sync(0xffffffffu, 1);
                __syncthreads();
            } else {
                __syncthreads();
                result = __ballot_sync(0xffffffffu, 1);
            }
            break;
        case 6:  // Masks that do not agree.
            result = __ballot_sync(lane == 0 ? 0xffffffffu : 0xfffffffeu, 1);
            break;
        case 7: result = __shfl_sync(0xffffffffu, lane, 0, 12); break;
        case 8: result = __byte_perm(1, 2, 0x3218); break;
        default: word = lane; result = word;
    }
    output(parameters)[threadIdx.x] = result;
}

// Integer intrinsics of `value`.
extern "C" __global__ __launch_bounds__(64, 2) void shim_test_intrinsics(
        const ShimTestParameters parameters) {
    if (threadIdx.x != 0) return;
    unsigned x = parameters.value;
    unsigned *out = output(parameters);
    out[0] = __popc(x);
    out[1] = __clz((int)x);
    out[2] = __clzll((long long)x << 5);
    out[3] = __ffs((int)x);
    out[4] = __brev(x);
    out[5] = __funnelshift_l(0x89abcdefu, x, 12);
    out[6] = __funnelshift_r(x, 0x01234567u, 44);
    out[7] = __byte_perm(0x33221100u, 0x77665544u, 0x1726);
    out[8] = __umulhi(x, 0xdeadbeefu);
    out[9] = __ldg(&out[0]);
    out[10] = min(-1, 5) == -1 && max(-1, 5) == 5 && min(3u, 4) == 3u && max(-1, 1u) == 0xffffffffu;
    out[11] = 7;
    out[12] = atomicMax(&out[11], 9u) + atomicMin(&out[11], 3u) + atomicOr(&out[11], 4u);
    unsigned long long wide = 1ull << 40;
    out[13] = (unsigned)(atomicAdd(&wide, 1ull) >> 32) + (unsigned)wide;
    uint4 four = make_uint4(1, 2, 3, x);
    uint2 two = make_uint2(four.w, four.x);
    out[14] = two.x + two.y;
    out[15] = sizeof(uint4) * 16 + alignof(uint4) + alignof(uint2);
}

// Reads or writes past an end: for AddressSanitizer.
extern "C" __global__ void shim_test_overrun(const ShimTestParameters parameters) {
    __shared__ unsigned words[32];
    words[threadIdx.x] = threadIdx.x;
    __syncthreads();
    if (parameters.value == 1) output(parameters)[0] = words[parameters.padding * 32];
    if (parameters.value == 2) output(parameters)[32 + threadIdx.x] = 1;
    int large = static_cast<int>(0x7fffffff - words[0]);
    if (parameters.value == 3) output(parameters)[0] = large + static_cast<int>(parameters.padding);
}

// A small step between barriers, `value` times: for measuring.
extern "C" __global__ void shim_test_speed(const ShimTestParameters parameters) {
    unsigned sum = 0;
    for (unsigned i = 0; i < parameters.value; ++i) {
        sum += __ballot_sync(0xffffffffu, i & threadIdx.x);
    }
    output(parameters)[threadIdx.x] = sum;
}
