# VISTAZO_HAS_CUDA: whether the CUDA kernels are built. AUTO takes a compiler that is on the PATH or named by CUDACXX.
set(VISTAZO_HAS_CUDA OFF)
if(VISTAZO_CUDA STREQUAL "AUTO" OR VISTAZO_CUDA STREQUAL "ON")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(VISTAZO_HAS_CUDA ON)
  elseif(VISTAZO_CUDA STREQUAL "ON")
    message(FATAL_ERROR "VISTAZO_CUDA=ON needs a CUDA compiler: put nvcc on the PATH or set CUDACXX")
  endif()
elseif(NOT VISTAZO_CUDA STREQUAL "OFF")
  message(FATAL_ERROR "VISTAZO_CUDA must be AUTO, ON or OFF; it is '${VISTAZO_CUDA}'")
endif()
if(NOT VISTAZO_HAS_CUDA)
  message(STATUS "vistazo: no CUDA compiler, this build runs on the CPU only")
  return()
endif()
message(STATUS "vistazo: CUDA kernels are built with ${CMAKE_CUDA_COMPILER}")

# Code of 8.0 runs on every 8.x; 9.0's intermediate code is translated by the driver for anything newer.
set(VISTAZO_CUDA_PORTABLE "80-real;90" CACHE STRING "Architectures of the portable CUDA kernels")
set(CMAKE_CUDA_ARCHITECTURES ${VISTAZO_CUDA_PORTABLE})
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25.1 does not know it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

# An object library of .cu files whose objects become part of vistazo. Spilled registers and local memory are warnings,
# which a preset makes errors: a kernel here has neither.
function(vistazo_cuda_objects target)
  add_library(${target} OBJECT ${ARGN})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/engine)
  target_link_libraries(${target} PRIVATE fmt::fmt)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wshadow -Xptxas=-warn-spills,-warn-lmem-usage>
    $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${VISTAZO_WARNINGS_AS_ERRORS}>>:-Werror=all-warnings -Xptxas=-Werror>)
  target_sources(vistazo PRIVATE $<TARGET_OBJECTS:${target}>)
endfunction()
