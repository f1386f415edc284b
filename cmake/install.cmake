# cmake --install: the library, its public headers, the command, and find_package(vistazo) / pkg-config files.
