# Tests that run the programs of VISTAZO_SANITIZED_BUILD, compiled with AddressSanitizer and UBSan by clang.
set(VISTAZO_FUZZ_SECONDS 60 CACHE STRING "How long the test of each fuzzer lasts")

foreach(folder kernels weights engine models apps)
  file(GLOB sources ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.cpp)
  if(NOT sources)
    continue()
  endif()
  add_test(NAME "asan: ${folder}" COMMAND ${VISTAZO_SANITIZED_BUILD}/tests/${folder}_tests)
  # High costs start first: these are the longest tests.
  set_tests_properties("asan: ${folder}" PROPERTIES LABELS asan COST 1000 TIMEOUT 900)
endforeach()

# New inputs go to a folder of the build; a crash leaves its input there. 256 MB for one allocation and 512 MB in all
# are the bounds that the parsers promise; memory that the sanitizer holds back after its release would count, too, and
# by default that is 256 MB.
foreach(name safetensors config torch)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/fuzz/${name})
  file(MAKE_DIRECTORY ${folder})
  add_test(NAME "fuzz: ${name}"
    COMMAND ${VISTAZO_SANITIZED_BUILD}/tests/fuzz/${name}_fuzz
      -max_total_time=${VISTAZO_FUZZ_SECONDS} -rss_limit_mb=512 -malloc_limit_mb=256 -timeout=10 -max_len=65536
      -dict=${CMAKE_CURRENT_SOURCE_DIR}/fuzz/${name}.dict -artifact_prefix=${folder}/
      ${folder} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
  math(EXPR timeout "${VISTAZO_FUZZ_SECONDS} + 120")
  set_tests_properties("fuzz: ${name}" PROPERTIES LABELS fuzz COST 2000 TIMEOUT ${timeout}
    ENVIRONMENT "ASAN_OPTIONS=quarantine_size_mb=16")
endforeach()
