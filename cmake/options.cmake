# Developer options. A consumer who only builds and installs meshd gets none of them by surprise.
option(MESHD_BUILD_TESTS "Build the tests, benchmarks and the fuzzers' regression drivers" ON)
option(MESHD_WERROR "Warnings are errors" OFF)
option(MESHD_FUZZ "Build libFuzzer targets (clang only)" OFF)
set(MESHD_SANITIZE "" CACHE STRING "Sanitizers: '', 'address,undefined' or 'thread'")

add_library(meshd_options INTERFACE)
target_compile_options(meshd_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Wold-style-cast
  -Woverloaded-virtual -fstack-protector-strong $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
if(MESHD_WERROR)
  target_compile_options(meshd_options INTERFACE -Werror)
endif()
if(MESHD_SANITIZE)
  add_compile_options(-fsanitize=${MESHD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -U_FORTIFY_SOURCE)
  add_link_options(-fsanitize=${MESHD_SANITIZE})
endif()
if(MESHD_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
endif()

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

# mesh_library(NAME SOURCES… PUBLIC TARGETS… PRIVATE TARGETS…): a static library whose PUBLIC and PRIVATE lists are all it may
# include: a forbidden include does not find its header.
function(mesh_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} meshd_options)
endfunction()
