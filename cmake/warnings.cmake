# Warnings for our own targets. They become errors only where a preset asks for it, never for a consumer.
function(vistazo_warnings target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual>
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${VISTAZO_WARNINGS_AS_ERRORS}>>:-Werror>)
endfunction()
