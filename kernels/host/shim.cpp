// Runs the threads of a block as fibers.
//
// One fiber runs at a time and keeps running until its thread waits or ends. A thread that ends
// without waiting hands its fiber to the next thread, so that kernels without barriers never
// switch. Which thread comes next is the launch's choice (`Schedule`), since a GPU promises no
// order. The caller holds a lock: there is one scheduler.
#include "shim.h"

#include "fiber.h"

extern "C" int snprintf(char *, size_t, const char *, ...);
extern "C" int strcmp(const char *, const char *);

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// Made by the build script.
extern const shim::Kernel *const shim_kernels[];
extern const size_t shim_kernel_count;
extern const shim::LayoutEntry shim_layout[];
extern const size_t shim_layout_count;

// The section of all shared variables; the linker makes these names.
extern unsigned char shim_shared_start[] __asm__("__start_shim_shared");
extern unsigned char shim_shared_stop[] __asm__("__stop_shim_shared");
// Even without any kernel there is such a section.
__attribute__((section("shim_shared"), used)) static unsigned shim_shared_filler;

namespace {

using shim::Op;
using shim::Site;

constexpr unsigned MOST_THREADS = 1024;
constexpr unsigned LANES = 32;

// --- The block that runs ----------------------------------------------------------------------

enum class State : unsigned char { New, Ready, AtBarrier, AtVote, Ended };

struct Thread {
    State state;
    Fiber *fiber;
    // What it waits for.
    Op op;
    unsigned mask;
    unsigned lane;
    int width;
    int bytes;
    unsigned long long value;
    Site site;
    // What came of it.
    unsigned long long result;
};

struct Scheduler {
    const shim::Kernel *kernel;
    const void *parameters;
    int schedule;
    unsigned long long random;
    unsigned block;
    unsigned thread_count;
    unsigned running;
    unsigned live;
    unsigned at_barrier;
    Thread threads[MOST_THREADS];
    // Threads that can go on: a bit each, and a bit for each warp that has any.
    unsigned ready[MOST_THREADS / LANES];
    unsigned ready_warps;
    // Threads that wait at a vote or shuffle.
    unsigned at_vote[MOST_THREADS / LANES];
    // The caller's stack, and fibers that no thread is on.
    Fiber caller;
    Fiber fibers[MOST_THREADS];
    unsigned fibers_made;
    Fiber *idle[MOST_THREADS];
    unsigned idle_count;
    Fiber *current;
    char *message;
    size_t message_bytes;
    bool failed;
};

Scheduler scheduler;

// xorshift64*: plenty for an order.
unsigned random_below(unsigned bound) {
    unsigned long long &x = scheduler.random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return static_cast<unsigned>(((x * 0x2545F4914F6CDD1Dull >> 32) * bound) >> 32);
}

void make_ready(unsigned thread) {
    scheduler.ready[thread / LANES] |= 1u << (thread % LANES);
    scheduler.ready_warps |= 1u << (thread / LANES);
}

unsigned pick_bit(unsigned bits) {
    switch (scheduler.schedule) {
        case 0: return __builtin_ctz(bits);
        case 1: return 31 - __builtin_clz(bits);
        default: {
            unsigned from = random_below(32);
            unsigned above = bits >> from << from;
            return __builtin_ctz(above != 0 ? above : bits);
        }
    }
}

// Whether some thread can go on; takes it.
bool next_thread(unsigned &thread) {
    if (scheduler.ready_warps == 0) return false;
    unsigned warp = pick_bit(scheduler.ready_warps);
    unsigned lane = pick_bit(scheduler.ready[warp]);
    scheduler.ready[warp] &= ~(1u << lane);
    if (scheduler.ready[warp] == 0) scheduler.ready_warps &= ~(1u << warp);
    thread = warp * LANES + lane;
    return true;
}

Fiber *take_fiber() {
    if (scheduler.idle_count > 0) return scheduler.idle[--scheduler.idle_count];
    unsigned index = scheduler.fibers_made++;
    Fiber *fiber = &scheduler.fibers[index];
    make_stack(*fiber, index);
    return fiber;
}

// After a switch, on its new stack: `self` is what runs. The first one from the caller's stack learns
// where that is.
SHIM_UNCHECKED void arrived(Fiber *self) {
    Bounds left = finish_switch(*self);
    if (scheduler.caller.stack == nullptr) {
        scheduler.caller.stack = left.bottom;
        scheduler.caller.stack_bytes = left.bytes;
    }
}

SHIM_UNCHECKED inline void switch_to(Fiber *to) {
    Fiber *from = scheduler.current;
    scheduler.current = to;
    switch_fiber(*from, *to);
    arrived(from);
}

[[noreturn]] void leave_for_caller() {
    switch_to(&scheduler.caller);
    abort();
}

void thread_ended(unsigned thread);

// What every fiber runs: one thread after another, until the next one is on a fiber already.
SHIM_UNCHECKED void fiber_main() {
    arrived(scheduler.current);
    for (;;) {
        unsigned thread = scheduler.running;
        scheduler.threads[thread].fiber = scheduler.current;
        scheduler.threads[thread].state = State::Ready;
        threadIdx.x = thread;
        scheduler.kernel->run(scheduler.parameters);
        thread_ended(thread);
        unsigned next;
        if (!next_thread(next)) leave_for_caller();
        scheduler.running = next;
        if (scheduler.threads[next].state == State::New) continue;
        // Taken by the next new thread, which starts it anew.
        scheduler.idle[scheduler.idle_count++] = scheduler.current;
        switch_to(scheduler.threads[next].fiber);
        abort();
    }
}

// Lets others run until this thread can go on.
__attribute__((always_inline)) inline void wait_for_turn() {
    unsigned self = scheduler.running;
    unsigned next;
    if (!next_thread(next)) leave_for_caller();
    scheduler.running = next;
    if (next != self) {
        Thread &thread = scheduler.threads[next];
        if (thread.state == State::New) {
            Fiber *fiber = take_fiber();
            prepare(*fiber, fiber_main);
            switch_to(fiber);
        } else {
            switch_to(thread.fiber);
        }
    }
    threadIdx.x = self;
}

// --- Errors -----------------------------------------------------------------------------------

const char *name_of(Op op) {
    switch (op) {
        case Op::Barrier: return "__syncthreads";
        case Op::BarrierOr: return "__syncthreads_or";
        case Op::BarrierAnd: return "__syncthreads_and";
        case Op::BarrierCount: return "__syncthreads_count";
        case Op::Sync: return "__syncwarp";
        case Op::Ballot: return "__ballot_sync";
        case Op::Any: return "__any_sync";
        case Op::All: return "__all_sync";
        case Op::MatchAny: return "__match_any_sync";
        case Op::Shuffle: return "__shfl_sync";
        case Op::ShuffleUp: return "__shfl_up_sync";
        case Op::ShuffleDown: return "__shfl_down_sync";
        case Op::ShuffleXor: return "__shfl_xor_sync";
    }
    return "?";
}

// The file without its folders.
const char *base(const char *path) {
    const char *name = path;
    for (; *path != 0; ++path) {
        if (*path == '/') name = path + 1;
    }
    return name;
}

// Where a thread is, in words.
void describe(unsigned thread, char *text, size_t bytes) {
    const Thread &it = scheduler.threads[thread];
    switch (it.state) {
        case State::AtBarrier:
            snprintf(text, bytes, "thread %u waits at %s (%s:%d)", thread, name_of(it.op),
                     base(it.site.file), it.site.line);
            break;
        case State::AtVote:
            snprintf(text, bytes, "thread %u waits at %s of mask %08x (%s:%d)", thread,
                     name_of(it.op), it.mask, base(it.site.file), it.site.line);
            break;
        case State::Ended: snprintf(text, bytes, "thread %u has left the kernel", thread); break;
        default: snprintf(text, bytes, "thread %u runs", thread);
    }
}

void set_message(const char *what) {
    scheduler.failed = true;
    snprintf(scheduler.message, scheduler.message_bytes, "kernel %s, block %u: %s",
             scheduler.kernel->name, scheduler.block, what);
}

// Ends the launch; the fibers are left as they are.
[[noreturn]] void fail(const char *what) {
    set_message(what);
    leave_for_caller();
}

[[noreturn]] void fail_at(const char *what, unsigned mask, Site site) {
    char text[256];
    snprintf(text, sizeof text, "thread %u, %s:%d: %s (mask %08x)", scheduler.running,
           base(site.file), site.line, what, mask);
    fail(text);
}

// Some threads are left and none can go on: names one of each kind.
void report_deadlock() {
    char text[640];
    size_t used = snprintf(text, sizeof text, "deadlock: ");
    const Thread *last = nullptr;
    for (unsigned i = 0; i < scheduler.thread_count && used + 160 < sizeof text; ++i) {
        const Thread &it = scheduler.threads[i];
        bool same = last != nullptr && last->state == it.state && last->op == it.op &&
                last->mask == it.mask && last->site.line == it.site.line;
        if (same || (last != nullptr && it.state == State::Ended && last->state == State::Ended)) {
            continue;
        }
        if (last != nullptr) used += snprintf(text + used, sizeof text - used, "; ");
        char one[160];
        describe(i, one, sizeof one);
        used += snprintf(text + used, sizeof text - used, "%s", one);
        last = &it;
    }
    set_message(text);
}

// --- Barriers ---------------------------------------------------------------------------------

// Lets the block go on once all that have not left the kernel wait.
void try_barrier() {
    if (scheduler.at_barrier == 0 || scheduler.at_barrier != scheduler.live) return;
    const Thread *first = nullptr;
    unsigned count = 0;
    for (unsigned i = 0; i < scheduler.thread_count; ++i) {
        const Thread &it = scheduler.threads[i];
        if (it.state != State::AtBarrier) continue;
        if (first == nullptr) first = &it;
        if (it.op != first->op || it.site.line != first->site.line) {
            report_deadlock();
            char *end = scheduler.message;
            while (*end != 0) ++end;
            snprintf(end, scheduler.message_bytes - (end - scheduler.message),
                     ": threads of a block wait at different barriers");
            leave_for_caller();
        }
        count += it.value != 0;
    }
    unsigned result = 0;
    if (first->op == Op::BarrierOr) result = count != 0;
    if (first->op == Op::BarrierAnd) result = count == scheduler.at_barrier;
    if (first->op == Op::BarrierCount) result = count;
    for (unsigned i = 0; i < scheduler.thread_count; ++i) {
        Thread &it = scheduler.threads[i];
        if (it.state != State::AtBarrier) continue;
        it.state = State::Ready;
        it.result = result;
        make_ready(i);
    }
    scheduler.at_barrier = 0;
}

void thread_ended(unsigned thread) {
    scheduler.threads[thread].state = State::Ended;
    --scheduler.live;
    try_barrier();
}

// --- Votes and shuffles -----------------------------------------------------------------------

// The lane that a lane's value comes from: its own where the shuffle leaves the segment.
unsigned source_lane(const Thread &it, unsigned lane) {
    unsigned width = static_cast<unsigned>(it.width);
    unsigned first = lane & ~(width - 1);
    unsigned last = first + width - 1;
    switch (it.op) {
        case Op::Shuffle: return first | (it.lane & (width - 1));
        case Op::ShuffleUp: return it.lane > lane - first ? lane : lane - it.lane;
        case Op::ShuffleDown: return it.lane > last - lane ? lane : lane + it.lane;
        default: {
            // Unlike the others it may reach into earlier segments.
            unsigned from = (lane ^ it.lane) & (LANES - 1);
            return from > last ? lane : from;
        }
    }
}

unsigned long long vote_result(const Thread *warp, unsigned lane, unsigned mask, unsigned votes) {
    const Thread &it = warp[lane];
    switch (it.op) {
        case Op::Ballot: return votes;
        case Op::Any: return votes != 0;
        case Op::All: return votes == mask;
        case Op::MatchAny: {
            unsigned equal = 0;
            for (unsigned other = 0; other < LANES; ++other) {
                if (mask >> other & 1 && warp[other].value == it.value) equal |= 1u << other;
            }
            return equal;
        }
        case Op::Sync: return 0;
        default: {
            unsigned from = source_lane(it, lane);
            if (!(mask >> from & 1)) {
                fail_at("a shuffle reads from a lane outside its mask", mask, it.site);
            }
            return warp[from].value;
        }
    }
}

// Lets the lanes of a mask go on once all of them wait for the same.
void try_vote(unsigned self) {
    unsigned first = self & ~(LANES - 1);
    Thread *warp = &scheduler.threads[first];
    unsigned mask = scheduler.threads[self].mask;
    Op op = scheduler.threads[self].op;
    unsigned &waiting = scheduler.at_vote[self / LANES];
    waiting |= 1u << (self - first);
    if ((mask & ~waiting) != 0) return;
    unsigned votes = 0;
    for (unsigned bits = mask; bits != 0; bits &= bits - 1) {
        unsigned lane = __builtin_ctz(bits);
        const Thread &it = warp[lane];
        if (it.mask != mask || it.op != op || it.bytes != scheduler.threads[self].bytes) return;
        if (it.value != 0) votes |= 1u << lane;
    }
    for (unsigned bits = mask; bits != 0; bits &= bits - 1) {
        unsigned lane = __builtin_ctz(bits);
        warp[lane].result = vote_result(warp, lane, mask, votes);
    }
    for (unsigned bits = mask; bits != 0; bits &= bits - 1) {
        unsigned lane = __builtin_ctz(bits);
        warp[lane].state = State::Ready;
        make_ready(first + lane);
    }
    waiting &= ~mask;
}

// --- Launches ---------------------------------------------------------------------------------

// Garbage that differs from block to block. By a loop: the section has AddressSanitizer's red zones
// between its variables.
SHIM_UNCHECKED void spoil_shared() {
    unsigned long long x = scheduler.block * 0x9E3779B97F4A7C15ull + 0xCDCDCDCDCDCDCDCDull;
    for (volatile unsigned char *byte = shim_shared_start; byte < shim_shared_stop; ++byte) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        *byte = static_cast<unsigned char>(x >> 32);
    }
}

bool run_block(unsigned block) {
    scheduler.block = block;
    blockIdx = {block, 0, 0};
    spoil_shared();
    scheduler.live = scheduler.thread_count;
    scheduler.at_barrier = 0;
    scheduler.ready_warps = 0;
    for (unsigned i = 0; i < scheduler.thread_count; ++i) {
        scheduler.threads[i].state = State::New;
        scheduler.at_vote[i / LANES] = 0;
        make_ready(i);
    }
    scheduler.idle_count = scheduler.fibers_made;
    for (unsigned i = 0; i < scheduler.fibers_made; ++i) {
        scheduler.idle[i] = &scheduler.fibers[scheduler.fibers_made - 1 - i];
    }
    next_thread(scheduler.running);
    Fiber *fiber = take_fiber();
    prepare(*fiber, fiber_main);
    scheduler.current = &scheduler.caller;
    switch_to(fiber);
    if (!scheduler.failed && scheduler.live != 0) report_deadlock();
    return !scheduler.failed;
}

}  // namespace

namespace shim {

void misuse(const char *what) { fail(what); }

unsigned block_op(Op op, unsigned value, Site site) {
    unsigned self = scheduler.running;
    Thread &thread = scheduler.threads[self];
    thread.state = State::AtBarrier;
    thread.op = op;
    thread.value = value;
    thread.site = site;
    thread.mask = 0;
    ++scheduler.at_barrier;
    try_barrier();
    wait_for_turn();
    return static_cast<unsigned>(thread.result);
}

unsigned long long warp_op(Op op, unsigned mask, unsigned long long value, unsigned lane, int width,
                           int bytes, Site site) {
    unsigned self = scheduler.running;
    if (!(mask >> (self % LANES) & 1)) {
        fail_at("a lane takes part in a vote whose mask leaves it out", mask, site);
    }
    if (width < 1 || width > warpSize || (width & (width - 1)) != 0) {
        fail_at("a shuffle's width is not a power of two up to 32", mask, site);
    }
    Thread &thread = scheduler.threads[self];
    thread.state = State::AtVote;
    thread.op = op;
    thread.mask = mask;
    thread.value = value;
    thread.lane = lane;
    thread.width = width;
    thread.bytes = bytes;
    thread.site = site;
    try_vote(self);
    wait_for_turn();
    return thread.result;
}

}  // namespace shim

// The kernel of that name, or null.
extern "C" const shim::Kernel *shim_find(const char *name) {
    for (size_t i = 0; i < shim_kernel_count; ++i) {
        if (strcmp(shim_kernels[i]->name, name) == 0) return shim_kernels[i];
    }
    return nullptr;
}

extern "C" size_t shim_parameter_bytes(const shim::Kernel *kernel) {
    return kernel->parameter_bytes;
}

extern "C" unsigned shim_most_threads(const shim::Kernel *kernel) { return kernel->most_threads; }

// Runs the blocks `order[0]`, `order[1]`, …, each of `threads` threads. `schedule` says which
// thread comes next: 0 the first, 1 the last, 2 any. Returns whether all went well; if not, `message` says
// what did not. The caller holds a lock and has checked all numbers.
extern "C" bool shim_launch(const shim::Kernel *kernel, const void *parameters,
                            const unsigned *order, unsigned blocks, unsigned threads, int schedule,
                            unsigned long long seed, char *message, size_t message_bytes) {
    scheduler.kernel = kernel;
    scheduler.parameters = parameters;
    scheduler.schedule = schedule;
    scheduler.random = seed | 1;
    scheduler.thread_count = threads;
    scheduler.message = message;
    scheduler.message_bytes = message_bytes;
    scheduler.failed = false;
    // Learnt again: another thread's stack may have called before.
    scheduler.caller.stack = nullptr;
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
    threadIdx = {0, 0, 0};
    for (unsigned i = 0; i < blocks; ++i) {
        if (!run_block(order[i])) return false;
    }
    return true;
}

// The `index`-th name of the layout and its value; null past the last.
extern "C" const char *shim_layout_entry(size_t index, size_t *value) {
    if (index >= shim_layout_count) return nullptr;
    *value = shim_layout[index].value;
    return shim_layout[index].name;
}
