# The command `wbpf`, in the folder of the environment's commands.
file(STRINGS ${PROJECT_SOURCE_DIR}/src/wbpf/wasm/engine.py wasmtime_line REGEX "^VERSION = ")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" wasmtime_version "${wasmtime_line}")

file(GLOB launcher_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.c)
set(launcher_definitions WBPF_WASMTIME_VERSION="${wasmtime_version}"
  WBPF_PYTHON_VERSION="${Python_VERSION_MAJOR}.${Python_VERSION_MINOR}")
# Of the core what is called alone: the rest has constructors, which take half a millisecond. (Not so of the
# others: nothing is taken out of an archive for their weak symbols.)
add_library(wbpf_launcher_core STATIC ${core_objects})
add_executable(wbpf_launcher ${launcher_sources} ${kernel_objects} ${hostcalls_objects})
set_target_properties(wbpf_launcher PROPERTIES OUTPUT_NAME wbpf)
target_compile_definitions(wbpf_launcher PRIVATE ${launcher_definitions})
target_link_libraries(wbpf_launcher PRIVATE wbpf_launcher_core wbpf_core m ${CMAKE_DL_LIBS})
if(SKBUILD)
  install(TARGETS wbpf_launcher DESTINATION ${SKBUILD_SCRIPTS_DIR})
endif()
