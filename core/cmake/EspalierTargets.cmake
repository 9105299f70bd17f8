# One rule for every library: all sources below the folder belong to it, so that a new layer is new files only.
# g++ 12 reports overlapping copies inside std::string's operator+ that are not there (GCC bug 105651), and takes the
# unnamed namespaces of files that are compiled together (ESPALIER_TOGETHER) for those of headers.
set(ESPALIER_HOST_WARNINGS -Wall -Wextra -Werror -Wno-restrict -Wno-subobject-linkage)
set(ESPALIER_CUDA_FLAGS -std=c++20 --expt-relaxed-constexpr --Werror=all-warnings
    -Xcompiler=-Wall,-Wextra,-Werror,-Wno-restrict -Xptxas=--warn-on-spills   # so a spilled register is an error
    $<$<BOOL:${ESPALIER_PROFILE}>:-lineinfo>)   # CMake 3.25 has no cuda_std_20 for nvcc 13

# A compiler newer than those that check this tree warns of things that nobody here has seen: shown, but no errors.
if(CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
  list(REMOVE_ITEM ESPALIER_HOST_WARNINGS -Werror)
  list(TRANSFORM ESPALIER_CUDA_FLAGS REPLACE "(Xcompiler=.*),-Werror" "\\1")
endif()

# Device code knows two devices, with cp.async (8.0 and later) and without: so PTX for 8.0 is made once and assembled
# for all of 8.0 to 10.x that the list names, which takes a third off a build. 12.0 has its own: out of that of 8.0 its
# assembler spills registers in the large tiles. Lists with suffixes, or `native`, stay CMake's.
function(espalier_share_ptx architectures)
  set(shared ${architectures})
  list(FILTER shared INCLUDE REGEX "^(8[0-9]|90|10[0-9])$")
  list(LENGTH shared count)
  if(architectures MATCHES "[^0-9;]" OR count LESS 2 OR NOT 80 IN_LIST shared)
    return()
  endif()
  set(flags)
  set(ptx -gencode=arch=compute_80,code=compute_80)
  foreach(own IN LISTS architectures)
    if(NOT own IN_LIST shared)
      list(APPEND flags -gencode=arch=compute_${own},code=[compute_${own},sm_${own}])
      if(own LESS 80)
        list(APPEND ptx -gencode=arch=compute_${own},code=compute_${own})
      endif()
    endif()
  endforeach()
  list(TRANSFORM shared PREPEND sm_)
  list(JOIN shared "," code)
  list(APPEND flags "-gencode=arch=compute_80,code=[compute_80,${code}]")
  set(ESPALIER_CUDA_TARGETS ${flags} PARENT_SCOPE)
  set(ESPALIER_PTX_TARGETS ${ptx} PARENT_SCOPE)   # what every one of these GPUs can assemble itself
  set(CMAKE_CUDA_ARCHITECTURES OFF PARENT_SCOPE)   # the flags say it
endfunction()
if(ESPALIER_CUDA)
  espalier_share_ptx("${CMAKE_CUDA_ARCHITECTURES}")
endif()

# Files without kernels compile several at a time: most of what each costs alone is the headers that they share.
set(ESPALIER_TOGETHER UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)

add_library(espalier_options INTERFACE)
# A compile feature would ask nvcc for CUDA20 too, which CMake 3.25 does not know: the flag says it per language.
target_compile_options(espalier_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-std=c++20>)
if(ESPALIER_CUDA)
  target_compile_definitions(espalier_options INTERFACE ESPALIER_CUDA)
  if(ESPALIER_PROFILE)   # ranges for Nsight
    target_compile_definitions(espalier_options INTERFACE ESPALIER_PROFILE)
    target_link_libraries(espalier_options INTERFACE CUDA::nvtx3)
  endif()
endif()
if(ESPALIER_CHECKS OR ESPALIER_SANITIZE)
  target_compile_definitions(espalier_options INTERFACE ESPALIER_CHECKS)
endif()

function(espalier_compile_options target)
  set(host ${ESPALIER_HOST_WARNINGS})
  if(NOT ESPALIER_CUDA)
    # g++ does not know #pragma unroll
    list(APPEND host -fno-math-errno -fno-trapping-math -Wno-unknown-pragmas)
    if(ESPALIER_NATIVE)
      list(APPEND host -march=native)
    endif()
    if(ESPALIER_SANITIZE)
      list(APPEND host -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g
           -Wno-maybe-uninitialized)   # false inside std::function once instrumented (GCC bug 105593)
      target_link_options(${target} PUBLIC -fsanitize=address,undefined)
    else()
      list(APPEND host $<$<CONFIG:Release>:-O3>)
    endif()
  endif()
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${host}>
                         $<$<COMPILE_LANGUAGE:CUDA>:${ESPALIER_CUDA_FLAGS};${ESPALIER_CUDA_TARGETS}>)
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "\\.cu$")
  if(NOT ESPALIER_CUDA AND sources)
    set_source_files_properties(${sources} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
  endif()
endfunction()

# kind_NAME.cu, code that `writer` writes and whose kernel is called espalier_kind_NAME, for each NAME: part of target.
function(espalier_written target writer kind)
  foreach(name IN LISTS ARGN)
    set(code ${CMAKE_CURRENT_BINARY_DIR}/${kind}_${name}.cu)
    add_custom_command(OUTPUT ${code} COMMAND ${writer} ${name} ${code} DEPENDS ${writer})
    set_source_files_properties(${code} PROPERTIES COMPILE_DEFINITIONS espalier_${kind}=espalier_${kind}_${name})
    if(NOT ESPALIER_CUDA)
      set_source_files_properties(${code} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++;-O1")   # long, and runs once
    endif()
    target_sources(${target} PRIVATE ${code})
  endforeach()
endfunction()

function(espalier_library name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${name}/*.cpp ${PROJECT_SOURCE_DIR}/${name}/*.cu)
  if(ESPALIER_CUDA)   # the emulation exists only under g++, a vendor library only in its build
    list(FILTER sources EXCLUDE REGEX "/kernels/simt/|/vendor/[a-z0-9_]+_host\\.cpp$")
  else()
    list(FILTER sources EXCLUDE REGEX "/vendor/[a-z0-9_]+_(cublas|cusparse|nvrtc)\\.cpp$")
  endif()
  add_library(espalier_${name} STATIC ${sources})
  add_library(espalier::${name} ALIAS espalier_${name})
  set_target_properties(espalier_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(espalier_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                             $<INSTALL_INTERFACE:include/espalier>)
  target_link_libraries(espalier_${name} PUBLIC espalier_options)
  foreach(below IN LISTS ARGN)
    target_link_libraries(espalier_${name} PUBLIC espalier_${below})
  endforeach()
  if(NOT name STREQUAL "kernels")
    set_target_properties(espalier_${name} PROPERTIES ${ESPALIER_TOGETHER})
  endif()
  if(name STREQUAL "kernels")
    target_link_libraries(espalier_kernels PUBLIC Threads::Threads)
    if(ESPALIER_CUDA)
      target_link_libraries(espalier_kernels PUBLIC CUDA::cudart CUDA::cublas CUDA::cusparse PRIVATE ${CMAKE_DL_LIBS})
      set_source_files_properties(${PROJECT_SOURCE_DIR}/kernels/vendor/compiler_nvrtc.cpp PROPERTIES COMPILE_DEFINITIONS
                                  ESPALIER_NVRTC_FOLDER="${CUDAToolkit_LIBRARY_DIR}")   # opened at run time, not linked
    else()
      target_include_directories(espalier_kernels PRIVATE ${OPENBLAS_INCLUDE_DIR})
      target_link_libraries(espalier_kernels PRIVATE ${OPENBLAS_LIBRARY} ${CMAKE_DL_LIBS})
      set_source_files_properties(${PROJECT_SOURCE_DIR}/kernels/vendor/compiler_host.cpp PROPERTIES COMPILE_DEFINITIONS
                                  ESPALIER_CXX_COMPILER="${CMAKE_CXX_COMPILER}")   # of networks, at run time
    endif()
  elseif(name STREQUAL "core")
    target_link_libraries(espalier_core PUBLIC fmt::fmt PRIVATE ZLIB::ZLIB nlohmann_json::nlohmann_json)
  else()
    target_link_libraries(espalier_${name} PRIVATE nlohmann_json::nlohmann_json)
  endif()
  espalier_compile_options(espalier_${name})
endfunction()
