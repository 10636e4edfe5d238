// The driver's life: opens the runtime, has each line of stdin performed, shuts down.
#include "driver.hpp"

#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

int main(int argc, char **argv)
{
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s HOME IMAGE REGISTRY\n", argv[0]);
        return 2;
    }
    try {
        conformance::driver driver(argv[1], argv[2], argv[3]);
        for (std::string line; std::getline(std::cin, line);) {
            const char *separator = "{";
            for (const auto &[key, value] : driver.perform(conformance::request(line)).values) {
                std::cout << separator << '"' << key << "\": " << value;
                separator = ", ";
            }
            std::cout << (*separator == '{' ? "{}" : "}") << std::endl;
        }
        driver.shut_down();
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "conformance driver: %s\n", error.what());
        return 1;
    }
}
