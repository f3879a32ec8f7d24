/* Pools among themselves: kernel_pool.c asks oneDNN first, kernel_pool_loop.c computes
 * what it has no fast kernel for. Both keep a state that begins with its kind. */
#ifndef AMG_ENGINE_POOL_H
#define AMG_ENGINE_POOL_H

#include "engine/kernel.h"

typedef enum { AMG_POOL_DNNL, AMG_POOL_LOOP } amg_pool_maker;

void amg_pool_loop_forward(amg_plan *p, int node, const amg_window *w);
void amg_pool_loop_backward(amg_plan *p, int node);

#endif
