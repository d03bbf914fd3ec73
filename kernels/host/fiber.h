// Stacks that one OS thread runs in turns.
#pragma once

#include <sys/mman.h>

#if defined(__x86_64__) && !defined(SHIM_UCONTEXT)
#define SHIM_ASSEMBLY 1
#else
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SHIM_UNCHECKED __attribute__((no_sanitize_address))
#else
#define SHIM_UNCHECKED
#endif

extern "C" [[noreturn]] void abort();

namespace {

constexpr size_t STACK_BYTES = 256 * 1024;
constexpr size_t GUARD_BYTES = 64 * 1024;

struct Fiber {
#if SHIM_ASSEMBLY
    void *stack_pointer;
#else
    ucontext_t context;
#endif
    unsigned char *stack;
    size_t stack_bytes;
    void *fake_stack;
};

#if SHIM_ASSEMBLY
// Pushes what a function must preserve, leaves the stack and goes on with another. By a jump, since
// a processor expects returns to go where its calls came from.
extern "C" void shim_switch(void **from, void *to);
__asm__(R"(
.text
.globl shim_switch
.type shim_switch, @function
shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmp *%rcx
.size shim_switch, . - shim_switch
)");
#endif

// Makes the next switch to the fiber call `entry` on an empty stack.
SHIM_UNCHECKED void prepare(Fiber &fiber, void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
#endif
    fiber.fake_stack = nullptr;
#if SHIM_ASSEMBLY
    void **top = reinterpret_cast<void **>(fiber.stack + fiber.stack_bytes);
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    fiber.stack_pointer = top;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = fiber.stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
#endif
}

// A stack of its own; `index` tells fibers apart.
inline void make_stack(Fiber &fiber, unsigned index) {
    size_t bytes = GUARD_BYTES + STACK_BYTES;
    void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) abort();
    // Stacks grow down: one that grows too far stops here.
    if (mprotect(memory, GUARD_BYTES, PROT_NONE) != 0) abort();
    fiber.stack = static_cast<unsigned char *>(memory) + GUARD_BYTES;
    // Tops at different addresses modulo a page, since those of one set push one another out of the
    // cache.
    fiber.stack_bytes = STACK_BYTES - index * 448 % 16384;
}

// Leaves `from`'s stack for `to`'s; returns when something switches back.
SHIM_UNCHECKED inline void switch_fiber(Fiber &from, Fiber &to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.stack_bytes);
#endif
#if SHIM_ASSEMBLY
    shim_switch(&from.stack_pointer, to.stack_pointer);
#else
    swapcontext(&from.context, &to.context);
#endif
}

struct Bounds {
    unsigned char *bottom;
    size_t bytes;
};

// Tells AddressSanitizer that `self`'s stack is in use; gives the one that was left, where it knows.
SHIM_UNCHECKED inline Bounds finish_switch(Fiber &self) {
    const void *bottom = nullptr;
    size_t bytes = 0;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(self.fake_stack, &bottom, &bytes);
#else
    (void)self;
#endif
    return {static_cast<unsigned char *>(const_cast<void *>(bottom)), bytes};
}

}  // namespace
