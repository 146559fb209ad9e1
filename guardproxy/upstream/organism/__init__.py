"""The embedded model: a tiny language model of our own, run by llama.cpp in this process."""
