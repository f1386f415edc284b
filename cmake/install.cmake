# cmake --install: the library, its public headers, the command, and find_package(vistazo) / pkg-config files.
include(CMakePackageConfigHelpers)

install(TARGETS vistazo EXPORT vistazo ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY engine/vistazo ${PROJECT_BINARY_DIR}/include/vistazo DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h")
if(TARGET vistazo_cli)
  install(TARGETS vistazo_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY weights/cells weights/airspace DESTINATION ${CMAKE_INSTALL_DATADIR}/vistazo/weights
  FILES_MATCHING PATTERN "*.json" PATTERN "*.safetensors" PATTERN "README.md" PATTERN samples EXCLUDE)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/vistazo)
install(EXPORT vistazo NAMESPACE vistazo:: FILE vistazoTargets.cmake DESTINATION ${package_folder})
configure_package_config_file(cmake/vistazoConfig.cmake.in ${PROJECT_BINARY_DIR}/vistazoConfig.cmake
  INSTALL_DESTINATION ${package_folder})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/vistazoConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/vistazoConfig.cmake ${PROJECT_BINARY_DIR}/vistazoConfigVersion.cmake
  DESTINATION ${package_folder})

# The library is static, so a program that links it also links what it uses.
set(pkgconfig_libs "-ldnnl ${OpenMP_CXX_FLAGS} -lpthread")
if(VISTAZO_HAS_CUDA)
  string(APPEND pkgconfig_libs " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt")
endif()
file(RELATIVE_PATH pkgconfig_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/vistazo.pc.in vistazo.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/vistazo.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
