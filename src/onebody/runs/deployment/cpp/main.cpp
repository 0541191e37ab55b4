// Runs policy.onnx with ONNX Runtime, one step at a time as a control loop does, on the inputs of parity.txt, and
// prints the largest difference from the expected outputs. Exits with 0 if it is at most the tolerance, otherwise 1.
//
//   g++ -std=c++17 -O2 main.cpp -I ONNXRUNTIME/include -L ONNXRUNTIME/lib -lonnxruntime -o parity
//   LD_LIBRARY_PATH=ONNXRUNTIME/lib ./parity ../policy.onnx parity.txt
//
// ONNXRUNTIME: the unpacked archive of a release of ONNX Runtime, 1.12 or later, with headers and library.
// In a control loop, the input "state", if the policy has one, is at the start "state" of "memory" in contract.json, and
// then the output "next_state" of the step before; "noise", if it has that, is standard normal numbers.
// parity.txt: "rows R", "tolerance T", then for each tensor a line "input NAME COLUMNS" or "output NAME COLUMNS" and
// R lines of COLUMNS numbers.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

struct Tensor {
    std::string name;
    int64_t columns = 0;
    std::vector<float> values;  // [rows, columns]
};

struct Parity {
    int64_t rows = 0;
    double tolerance = 0.0;
    std::vector<Tensor> inputs, outputs;
};

Parity read(const std::filesystem::path& path) {
    std::ifstream file(path);
    Parity parity;
    std::string word;
    if (!(file >> word >> parity.rows >> word >> parity.tolerance)) throw std::runtime_error("cannot read parity.txt");
    while (file >> word) {
        Tensor tensor;
        file >> tensor.name >> tensor.columns;
        tensor.values.resize(parity.rows * tensor.columns);
        for (float& value : tensor.values) file >> value;
        if (!file) throw std::runtime_error("parity.txt ends within " + tensor.name);
        (word == "input" ? parity.inputs : parity.outputs).push_back(tensor);
    }
    return parity;
}

// The policy: each input and each output is one row of float32 numbers.
class Policy {
public:
    Policy(const std::filesystem::path& model, std::vector<std::string> inputs, std::vector<std::string> outputs)
        : inputs_(std::move(inputs)), outputs_(std::move(outputs)), session_(environment_, model.c_str(), options()) {
        for (const auto& name : inputs_) input_names_.push_back(name.c_str());
        for (const auto& name : outputs_) output_names_.push_back(name.c_str());
    }

    std::vector<std::vector<float>> operator()(std::vector<std::vector<float>>& rows) {
        std::vector<Ort::Value> values;
        for (auto& row : rows) {
            const int64_t shape[] = {1, static_cast<int64_t>(row.size())};
            values.push_back(Ort::Value::CreateTensor<float>(memory_, row.data(), row.size(), shape, 2));
        }
        auto results = session_.Run(Ort::RunOptions{nullptr}, input_names_.data(), values.data(), values.size(),
                                    output_names_.data(), output_names_.size());
        std::vector<std::vector<float>> found;
        for (auto& result : results) {
            const float* data = result.GetTensorData<float>();
            found.emplace_back(data, data + result.GetTensorTypeAndShapeInfo().GetElementCount());
        }
        return found;
    }

private:
    static Ort::SessionOptions options() {
        Ort::SessionOptions options;
        options.SetIntraOpNumThreads(1);  // the network is small: threads would only cost time
        return options;
    }

    std::vector<std::string> inputs_, outputs_;
    std::vector<const char*> input_names_, output_names_;
    Ort::Env environment_{ORT_LOGGING_LEVEL_WARNING, "policy"};
    Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Ort::Session session_;
};

int main(int count, char** arguments) try {
    const std::filesystem::path model = count > 1 ? arguments[1] : "../policy.onnx";
    const Parity parity = read(count > 2 ? arguments[2] : "parity.txt");
    std::vector<std::string> inputs, outputs;
    for (const auto& tensor : parity.inputs) inputs.push_back(tensor.name);
    for (const auto& tensor : parity.outputs) outputs.push_back(tensor.name);
    Policy policy(model, inputs, outputs);

    double worst = 0.0, seconds = 0.0;
    for (int64_t i = 0; i < parity.rows; ++i) {
        std::vector<std::vector<float>> rows;
        for (const auto& tensor : parity.inputs) {
            const auto begin = tensor.values.begin() + i * tensor.columns;
            rows.emplace_back(begin, begin + tensor.columns);
        }
        const auto begin = std::chrono::steady_clock::now();
        const auto found = policy(rows);
        seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        for (size_t k = 0; k < found.size(); ++k) {
            const Tensor& expected = parity.outputs[k];
            if (static_cast<int64_t>(found[k].size()) != expected.columns) throw std::runtime_error("another size");
            for (int64_t j = 0; j < expected.columns; ++j) {
                const double difference = std::abs(found[k][j] - expected.values[i * expected.columns + j]);
                worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
            }
        }
    }
    const bool passed = worst <= parity.tolerance;
    std::cout << (passed ? "ok" : "FAILED") << ": " << parity.rows << " rows, largest difference " << worst
              << ", at most " << parity.tolerance << " allowed, " << 1e3 * seconds / parity.rows << " ms per call\n";
    return passed ? 0 : 1;
} catch (const std::exception& error) {
    std::cerr << "FAILED: " << error.what() << "\n";
    return 1;
}
