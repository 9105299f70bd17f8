// The OS threads that run the blocks of a grid: ESPALIER_THREADS of them, else as many as the machine has.
#pragma once

namespace espalier::simt {

unsigned worker_threads();  // the launching thread included

namespace detail {
struct Grid;
void run_on_threads(Grid& grid);  // returns when every block has run; throws the first error of any
}  // namespace detail

}  // namespace espalier::simt
