#include <gtest/gtest.h>
int placeholder_control_test;
