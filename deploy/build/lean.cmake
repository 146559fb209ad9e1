# Included by llama.cpp's project() when the classifier's runtime is compiled (CMAKE_PROJECT_llama.cpp_INCLUDE).
# llama-cpp-python switches llama.cpp's `common` library on, which only its command line tools need; it is half of the
# compile time. An ordinary variable, set here, hides the cache entry that it sets.
set(LLAMA_BUILD_COMMON OFF)
