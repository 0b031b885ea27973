# The extension module wbpf._native and its type stub.
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
find_package(nanobind 3 CONFIG REQUIRED)

file(GLOB module_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cpp)
# For speed: tracing calls are the hot path.
nanobind_add_module(_native NB_STATIC NB_SUPPRESS_WARNINGS NOMINSIZE ${module_sources} ${core_objects}
  ${kernel_objects} ${hostcalls_objects})
target_link_libraries(_native PRIVATE wbpf_core ${CMAKE_DL_LIBS})
# A program that embeds Python may link libwbpf itself: neither copy may take the other's functions.
target_link_options(_native PRIVATE
  -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/exports.map)
set_property(TARGET _native PROPERTY LINK_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/exports.map)
install(TARGETS _native DESTINATION wbpf)

nanobind_add_stub(_native_stub MODULE _native OUTPUT _native.pyi
  PYTHON_PATH $<TARGET_FILE_DIR:_native> DEPENDS _native
  PATTERN_FILE ${CMAKE_CURRENT_LIST_DIR}/stubs.txt)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/_native.pyi DESTINATION wbpf)
