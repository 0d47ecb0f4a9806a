"""Flags with which XLA compiles for CPUs in less than half the time; programs are slower for it.

Tests run each program a few times at most, so compile time is what counts. Without the fusion
emitters, most of what LLVM would get is never made.
"""

FLAGS = (
  "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
  "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
