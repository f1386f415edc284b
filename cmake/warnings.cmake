# Warnings for our own targets. They become errors only where a preset asks for it, never for a consumer.
function(vistazo_warnings target)
  # g++ 12 sees an overlap that is not there in `"text" + std::string` (gcc.gnu.org/PR105651).
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual>
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${VISTAZO_WARNINGS_AS_ERRORS}>>:-Werror>)
endfunction()
