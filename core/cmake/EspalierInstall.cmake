# Install tree: libraries, headers and a package file, so that find_package(espalier) works elsewhere.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/espalier)
install(TARGETS espalier_options espalier_kernels espalier_core espalier_layers espalier_pruning
        EXPORT espalier-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(folder kernels core layers pruning)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder} DESTINATION include/espalier FILES_MATCHING PATTERN "*.h")
endforeach()
install(EXPORT espalier-targets NAMESPACE espalier:: DESTINATION ${package_dir})
configure_package_config_file(core/cmake/espalier-config.cmake.in ${PROJECT_BINARY_DIR}/espalier-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/espalier-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/espalier-config.cmake ${PROJECT_BINARY_DIR}/espalier-config-version.cmake
        DESTINATION ${package_dir})
