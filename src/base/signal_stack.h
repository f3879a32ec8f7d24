/* A stack for signal handlers. oneDNN 2.6's matrix products use the stack pointer as
 * one more register: it points into their buffers while they run, and there the kernel
 * writes the frame of a signal that comes then. A handler on a stack of its own
 * (SA_ONSTACK) leaves them alone. */
#ifndef AMG_BASE_SIGNAL_STACK_H
#define AMG_BASE_SIGNAL_STACK_H

/* Gives one to the calling thread and those that work for it, unless they have one.
 * Handlers must be set with SA_ONSTACK, as those of the programs and of Python (3.10
 * and newer) are. Cheap when it was done before. */
void amg_signal_stacks(void);

#endif
