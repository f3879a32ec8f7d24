#include "base/signal_stack.h"

#include <signal.h>

#include "base/parallel.h"

enum { STACK_BYTES = 65536 }; /* a frame with AVX-512 and AMX registers takes 12 KiB */

static void give_stack(void)
{
    static _Thread_local char room[STACK_BYTES];
    stack_t now;
    if (!sigaltstack(NULL, &now) && (now.ss_flags & SS_DISABLE))
        sigaltstack(&(stack_t){.ss_sp = room, .ss_size = sizeof room}, NULL);
}

void amg_signal_stacks(void)
{
    static _Thread_local int given; /* to so many threads */
    if (given >= amg_threads()) return;
    given = amg_threads();
    amg_on_each_thread(give_stack);
}
