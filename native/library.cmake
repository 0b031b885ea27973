# libwbpf for C and C++ applications, with its headers and pkg-config file.
# A wheel carries the same tree under wbpf/_c.

if(SKBUILD)
  set(c_root wbpf/_c/)
  set(CMAKE_INSTALL_LIBDIR lib)
else()
  set(c_root "")
endif()

if(WBPF_SANITIZE) # their run-time library is linked by the program
  return()
endif()

foreach(kind SHARED STATIC)
  string(TOLOWER wbpf_${kind} library)
  add_library(${library} ${kind} ${core_objects})
  target_link_libraries(${library} PRIVATE wbpf_core)
  set_target_properties(${library} PROPERTIES OUTPUT_NAME wbpf LINKER_LANGUAGE C)
  target_link_options(${library} PRIVATE -Wl,-Bsymbolic-functions -Wl,--no-undefined)
  install(TARGETS ${library} DESTINATION ${c_root}${CMAKE_INSTALL_LIBDIR})
endforeach()

# The part of it that a traced process gets: no recorder, no pool. It is never unloaded.
file(GLOB inside_sources CONFIGURE_DEPENDS inside/*.c)
add_library(wbpf_inside SHARED ${inside_sources} ${user_objects})
target_link_libraries(wbpf_inside PRIVATE wbpf_core)
set_target_properties(wbpf_inside PROPERTIES OUTPUT_NAME wbpf-inside)
target_link_options(wbpf_inside PRIVATE -Wl,-Bsymbolic-functions -Wl,--no-undefined -Wl,-z,nodelete)
install(TARGETS wbpf_inside DESTINATION ${c_root}${CMAKE_INSTALL_LIBDIR})

if(NOT SKBUILD) # a wheel holds no symbolic links, so the library in it has one plain name
  set_target_properties(wbpf_shared PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
endif()

# The prefix is relative to the file itself, so that the tree can be moved.
file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" prefix_from_pc ${prefix_from_pc})
configure_file(wbpf.pc.in wbpf.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/wbpf.pc DESTINATION ${c_root}${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(DIRECTORY include/wbpf DESTINATION ${c_root}include FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
# What control programs in WebAssembly are built with: `wbpf build` looks for it here.
if(SKBUILD)
  install(DIRECTORY ../sdk DESTINATION ${c_root})
endif()
