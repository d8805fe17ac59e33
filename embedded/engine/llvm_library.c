/* llvm.so: the LLVM engine for who loads it by eb_engine_load(). */
#include "library.h"

extern const struct engine_library eb_engine_library __attribute__((visibility("default")));
const struct engine_library eb_engine_library = { ENGINE_LAYOUT, EB_LLVM, llvm_compile, llvm_free };
