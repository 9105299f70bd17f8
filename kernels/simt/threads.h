// How many OS threads run the blocks of a grid: ESPALIER_THREADS, else as many as the machine has.
#pragma once

namespace espalier::simt {
unsigned worker_threads();
}
